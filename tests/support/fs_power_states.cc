// What a loss of power may leave of what a PowerLog saw.

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "tests/support/fs_power.h"
#include "tests/support/fs_random.h"

namespace coffer::testing {
namespace {

using Kind = PowerEvent::Kind;
using Events = std::vector<const PowerEvent*>;

constexpr std::uint64_t kBlock = 4096;

std::uint64_t round_up(std::uint64_t offset) { return (offset + kBlock - 1) / kBlock * kBlock; }

/// Of `count` things in a row the first so many: none and all are as likely as any number between.
std::size_t random_prefix(Chooser& chooser, std::size_t count) {
  const std::uint64_t kind = chooser.below(3);
  return kind == 0 ? 0 : (kind == 1 ? count : chooser.between(0, count));
}

/// How likely a piece of unsynced data is to be there, in eighths. Extremes find what depends on
/// one thing being there without another.
std::uint64_t random_share(Chooser& chooser) {
  constexpr std::uint64_t kShares[] = {0, 1, 4, 7, 8};
  return kShares[chooser.below(std::size(kShares))];
}

/// The metadata changes before a power loss: which had to be on the disk, and which are.
class Metadata {
 public:
  Metadata(const PowerLog& log, const PowerLoss& loss) : journaling_(loss.journaling) {
    for (const auto& [number, node] : log.initial().nodes) sizes_[number] = node.content.size();
    for (std::size_t i = 0; i < loss.position; ++i) {
      const PowerEvent& event = log.events()[i];
      if (event.is_metadata()) {
        changes_.push_back(&event);
        touched_.insert({event.node, event.dir, event.new_dir});
        // A file made without a name begins with its first link.
        const bool made = sizes_.try_emplace(event.node, 0).second;
        if (made || event.kind == Kind::kCreate) resized_.insert(event.node);
      } else if (event.is_barrier()) {
        require_for(event);
      } else {
        note_size(event);
      }
    }
  }

  Events kept(Chooser& chooser) const {
    if (journaling_ == Journaling::kAnyOrder) return kept_in_any_order(chooser);
    if (journaling_ == Journaling::kKilled) return changes_;
    const std::size_t count = required_ + random_prefix(chooser, changes_.size() - required_);
    return {changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count)};
  }

 private:
  void note_size(const PowerEvent& event) {
    std::uint64_t& size = sizes_[event.node];
    const std::uint64_t before = size;
    const std::uint64_t end = event.offset + event.data.size();
    size = event.kind == Kind::kTruncate ? event.offset : std::max(size, end);
    touched_.insert(event.node);
    if (size != before) resized_.insert(event.node);
  }

  /// After the last change that a sync of the object has to bring to the disk: timestamps, and so
  /// names, are none of fdatasync's.
  [[nodiscard]] std::size_t after_last_of(const PowerEvent& barrier) const {
    for (std::size_t i = changes_.size(); i > 0; --i) {
      const PowerEvent& change = *changes_[i - 1];
      if (barrier.kind == Kind::kSyncData) {
        const bool counts = change.kind == Kind::kCreate || change.kind == Kind::kLink;
        if (counts && change.node == barrier.node) return i;
      } else if (change.node == barrier.node || change.dir == barrier.node ||
                 change.new_dir == barrier.node) {
        return i;
      }
    }
    return 0;
  }

  void require_all() {
    required_ = changes_.size();
    touched_.clear();
    resized_.clear();
  }

  void require_for(const PowerEvent& barrier) {
    switch (journaling_) {
      case Journaling::kWhole: {
        const auto& cause = barrier.kind == Kind::kSyncData ? resized_ : touched_;
        if (barrier.kind == Kind::kSyncAll || cause.contains(barrier.node)) require_all();
        break;
      }
      case Journaling::kInOrder:
        if (barrier.kind == Kind::kSyncAll) {
          require_all();
        } else {
          required_ = std::max(required_, after_last_of(barrier));
        }
        break;
      case Journaling::kAnyOrder:
        for (const PowerEvent* const change : changes_) {
          const bool in_dir = barrier.kind == Kind::kSyncDir &&
                              (change->dir == barrier.node || change->new_dir == barrier.node);
          if (in_dir || barrier.kind == Kind::kSyncAll) must_.insert(change);
        }
        break;
      case Journaling::kKilled:
        break;
    }
  }

  /// Entries that a change reads or writes, as one text each.
  static std::vector<std::string> entries_of(const PowerEvent& change) {
    const auto entry = [](ino_t dir, const std::string& name) {
      return std::to_string(dir) + "/" + name;
    };
    std::vector<std::string> entries;
    if (!change.name.empty()) entries.push_back(entry(change.dir, change.name));
    if (!change.new_name.empty()) entries.push_back(entry(change.new_dir, change.new_name));
    return entries;
  }

  /// The earlier changes that one builds on: the last of each of its entries, and the making of its
  /// object and of its directories.
  [[nodiscard]] std::vector<std::size_t> needed_by(std::size_t index) const {
    const PowerEvent& change = *changes_[index];
    std::vector<std::size_t> needed;
    for (const std::string& entry : entries_of(change)) {
      for (std::size_t i = index; i > 0; --i) {
        const auto earlier = entries_of(*changes_[i - 1]);
        if (std::find(earlier.begin(), earlier.end(), entry) == earlier.end()) continue;
        needed.push_back(i - 1);
        break;
      }
    }
    for (std::size_t i = 0; i < index; ++i) {
      const PowerEvent& earlier = *changes_[i];
      if (earlier.kind == Kind::kCreate &&
          (earlier.node == change.dir || earlier.node == change.new_dir ||
           earlier.node == change.node)) {
        needed.push_back(i);
      }
      // A directory goes only once all in it is gone.
      if (change.kind == Kind::kUnlink &&
          (change.node == earlier.dir || change.node == earlier.new_dir)) {
        needed.push_back(i);
      }
    }
    return needed;
  }

  [[nodiscard]] Events kept_in_any_order(Chooser& chooser) const {
    std::vector<bool> keep(changes_.size());
    for (std::size_t i = changes_.size(); i > 0; --i) {
      if (must_.contains(changes_[i - 1])) keep[i - 1] = true;
      if (!keep[i - 1]) continue;
      for (const std::size_t needed : needed_by(i - 1)) keep[needed] = true;
    }
    const std::uint64_t share = random_share(chooser);
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (keep[i] || chooser.below(8) >= share) continue;
      const auto needed = needed_by(i);
      keep[i] = std::all_of(needed.begin(), needed.end(), [&](std::size_t n) { return keep[n]; });
    }
    Events kept;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (keep[i]) kept.push_back(changes_[i]);
    }
    return kept;
  }

  const Journaling journaling_;
  Events changes_;
  std::set<const PowerEvent*> must_;      // for kAnyOrder
  std::size_t required_ = 0;              // for the others: so many of the first
  std::set<ino_t> touched_;               // since the last commit of all
  std::set<ino_t> resized_;               // made, or of another size
  std::map<ino_t, std::uint64_t> sizes_;  // of all nodes seen so far
};

void apply(const PowerEvent& change, PowerImage& image) {
  const auto entries = [&](ino_t dir) -> std::map<std::string, ino_t>& {
    return image.nodes[dir].entries;
  };
  switch (change.kind) {
    case Kind::kCreate: {
      PowerImage::Node& node = image.nodes[change.node];
      node.mode = change.mode;
      node.target = as_text(change.data);
      entries(change.dir)[change.name] = change.node;
      break;
    }
    case Kind::kLink:
      // Of a file made without a name this is the first that is heard.
      image.nodes.try_emplace(change.node, PowerImage::Node{.mode = change.mode});
      entries(change.dir)[change.name] = change.node;
      break;
    case Kind::kUnlink:
      entries(change.dir).erase(change.name);
      break;
    case Kind::kRename:
      entries(change.dir).erase(change.name);
      entries(change.new_dir)[change.new_name] = change.node;
      break;
    case Kind::kExchange:
      std::swap(entries(change.dir)[change.name], entries(change.new_dir)[change.new_name]);
      break;
    case Kind::kMode: {
      mode_t& mode = image.nodes[change.node].mode;
      mode = (mode & S_IFMT) | (change.mode & 07777U);
      break;
    }
    default:
      std::abort();
  }
}

/// The content of one file, with what happened to it since it was synced.
class Content {
 public:
  explicit Content(ByteVector synced) : content_(std::move(synced)) {}

  void apply(const PowerEvent& event) {
    if (event.kind == Kind::kTruncate) {
      content_.resize(event.offset);
    } else {
      put(event.offset, event.data);
    }
  }

  void lose(const Events& unsynced, Chooser& chooser) {
    const std::size_t kept_sizes = random_prefix(chooser, unsynced.size());
    const std::uint64_t size = size_after(unsynced, kept_sizes, chooser);
    const std::uint64_t piece = chooser.one_in(2) ? 512 : kBlock;
    const std::uint64_t share = random_share(chooser);
    std::uint64_t freed = ~std::uint64_t{0};  // by a truncation that is not there
    for (std::size_t i = 0; i < unsynced.size(); ++i) {
      const PowerEvent& event = *unsynced[i];
      if (event.kind == Kind::kWrite) {
        keep_pieces(event, piece, share, freed, chooser);
      } else if (i < kept_sizes) {
        if (event.offset < content_.size()) content_.resize(event.offset);
      } else if (event.offset < content_.size()) {
        freed = std::min(freed, round_up(event.offset));
        const std::uint64_t end = std::min<std::uint64_t>(round_up(event.offset), content_.size());
        if (chooser.below(8) < share) {
          std::fill(content_.begin() + static_cast<std::ptrdiff_t>(event.offset),
                    content_.begin() + static_cast<std::ptrdiff_t>(end), std::uint8_t{0});
        }
      }
    }
    content_.resize(size);
  }

  ByteVector take() { return std::move(content_); }

 private:
  void put(std::uint64_t offset, Bytes data) {
    if (content_.size() < offset + data.size()) content_.resize(offset + data.size());
    std::copy(data.begin(), data.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  void keep_pieces(const PowerEvent& write, std::uint64_t piece, std::uint64_t share,
                   std::uint64_t freed, Chooser& chooser) {
    const std::uint64_t end = write.offset + write.data.size();
    for (std::uint64_t at = write.offset; at < end;) {
      const std::uint64_t stop = std::min(end, (at / piece + 1) * piece);
      if (chooser.below(8) < share && at < freed) {
        put(at, Bytes(write.data).subspan(at - write.offset, stop - at));
      }
      at = stop;
    }
  }

  static std::uint64_t size_with(std::uint64_t size, const PowerEvent& event) {
    if (event.kind == Kind::kTruncate) return event.offset;
    return std::max(size, event.offset + event.data.size());
  }

  [[nodiscard]] std::uint64_t size_after(const Events& unsynced, std::size_t count,
                                         Chooser& chooser) const {
    std::uint64_t size = content_.size();
    for (std::size_t i = 0; i < count; ++i) size = size_with(size, *unsynced[i]);
    if (count == unsynced.size() || unsynced[count]->kind != Kind::kWrite || !chooser.one_in(2))
      return size;
    const std::uint64_t next = size_with(size, *unsynced[count]);
    if (next <= size) return size;
    const std::uint64_t between = (size + chooser.below(next - size)) / kBlock * kBlock;
    return std::max(size, between);
  }

  ByteVector content_;
};

/// All that was done to a file, the last write up to some page.
ByteVector content_when_killed(const PowerLog& log, ino_t node, std::size_t position,
                               ByteVector content, Chooser& chooser) {
  Content result(std::move(content));
  for (std::size_t i = 0; i < position; ++i) {
    PowerEvent event = log.events()[i];
    if (event.node != node) continue;
    if (event.kind == Kind::kWrite && i + 1 == position && chooser.one_in(2)) {
      const std::uint64_t end = event.offset + event.data.size();
      const std::uint64_t cut = chooser.between(event.offset, end) / kBlock * kBlock;
      event.data.resize(std::max(cut, event.offset) - event.offset);
      if (event.data.empty()) continue;
    }
    if (event.kind == Kind::kWrite || event.kind == Kind::kTruncate) result.apply(event);
  }
  return result.take();
}

ByteVector content_after(const PowerLog& log, ino_t node, std::size_t position, ByteVector content,
                         Chooser& chooser) {
  Content result(std::move(content));
  Events unsynced;
  for (std::size_t i = 0; i < position; ++i) {
    const PowerEvent& event = log.events()[i];
    const bool synced = event.kind == Kind::kSyncAll || (event.is_barrier() && event.node == node);
    if (synced) {
      for (const PowerEvent* const done : unsynced) result.apply(*done);
      unsynced.clear();
    } else if (event.node == node &&
               (event.kind == Kind::kWrite || event.kind == Kind::kTruncate)) {
      unsynced.push_back(&event);
    }
  }
  result.lose(unsynced, chooser);
  return result.take();
}

}  // namespace

const char* to_text(Journaling journaling) {
  switch (journaling) {
    case Journaling::kWhole:
      return "whole";
    case Journaling::kInOrder:
      return "in-order";
    case Journaling::kAnyOrder:
      return "any-order";
    case Journaling::kKilled:
      return "killed";
  }
  std::abort();
}

std::string to_text(const PowerLoss& loss) {
  return "power lost after event " + std::to_string(loss.position) + ", journaling " +
         to_text(loss.journaling) + ", loss seed " + std::to_string(loss.seed);
}

PowerImage state_after_power_loss(const PowerLog& log, const PowerLoss& loss) {
  Chooser chooser(loss.seed);
  PowerImage image = log.initial();
  for (const PowerEvent* const change : Metadata(log, loss).kept(chooser)) apply(*change, image);
  for (auto& [number, node] : image.nodes) {
    if (!S_ISREG(node.mode)) continue;
    const auto content =
        loss.journaling == Journaling::kKilled ? content_when_killed : content_after;
    node.content = content(log, number, loss.position, std::move(node.content), chooser);
  }
  return image;
}

}  // namespace coffer::testing
