#include "keystore/audit/log_verifier.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "keystore/audit/checkpoint.h"

namespace coffer {
namespace {

struct OpenCheckpoint {
  std::string source;
  bool is_here = true;
  std::uint64_t size = 0;
  Digest root{};
};

/// A file, and where its lines belong by what it says itself.
struct PlacedFile {
  std::string path;
  LogId log;
  std::uint64_t first = 0;
  std::string time;
};

std::string name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

std::string range_text(std::uint64_t from, std::uint64_t to) {
  return to == from + 1 ? "line " + std::to_string(from)
                        : "lines " + std::to_string(from) + " to " + std::to_string(to - 1);
}

/// Goes through the files of one log, in their order.
class OneLog {
 public:
  OneLog(LogId log, const LineMac& mac, std::vector<OpenCheckpoint> checkpoints,
         const VerifyOptions& options, LogVerdict& verdict)
      : mac_(mac),
        checkpoints_(std::move(checkpoints)),
        options_(options),
        verdict_(verdict),
        walk_(mac, mac.start(log), 0) {
    summary_.log = log;
    std::sort(checkpoints_.begin(), checkpoints_.end(),
              [](const OpenCheckpoint& a, const OpenCheckpoint& b) { return a.size < b.size; });
  }

  Result<void> add(const PlacedFile& file) {
    ++summary_.files;
    file_ = file.path;
    row_ = 0;
    const UniqueFd fd = TRY(open_log_file(file.path));
    LineReader reader(fd.get());
    while (TRY(reader.next())) {
      ++row_;
      ended_ = reader.ended();
      if (row_ == 1) begin_file(reader.line(), file.first);
      take(reader.line());
      if (!ended_) break;
    }
    return {};
  }

  void finish() {
    const std::uint64_t signed_size = checkpoints_.empty() ? 0 : checkpoints_.back().size;
    summary_.lines = walk_.next();
    if (walk_.pending() > 0 && !ended_ && signed_size <= walk_.next()) {
      verdict_.notes.push_back(name_of(pending_file_) + " ends within line " +
                               std::to_string(walk_.next()) + ", as a crash leaves it");
    } else if (walk_.pending() > 0) {
      find_altered(walk_.next(), walk_.next() + walk_.pending());
    }
    for (; checked_ < checkpoints_.size(); ++checked_) {
      const OpenCheckpoint& checkpoint = checkpoints_[checked_];
      if (checkpoint.size > walk_.next()) {
        find(Code::kRolledBack, walk_.next(), "", 0,
             "the log ends with " + std::to_string(walk_.next()) + " lines; there were " +
                 std::to_string(checkpoint.size) + ", says " + checkpoint.source);
      } else {
        verdict_.notes.push_back(checkpoint.source + " could not be compared: lines before " +
                                 std::to_string(checkpoint.size) + " are not as they were");
      }
    }
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const LogFinding& a, const LogFinding& b) { return a.line < b.line; });
    verdict_.findings.insert(verdict_.findings.end(), findings_.begin(), findings_.end());
    verdict_.logs.push_back(summary_);
  }

 private:
  void begin_file(Bytes line, std::uint64_t claimed) {
    const auto head = parse_head(line, mac_);
    const bool first = summary_.files == 1;
    if (head && first && head->tree.size() > 0) {
      summary_.first = head->tree.size();
      const std::string what = range_text(0, summary_.first) + " are not here";
      if (options_.allow_removed) {
        verdict_.notes.push_back(what + "; the rest is proven from there on");
      } else {
        find(Code::kCorrupt, 0, "", 0, what);
      }
      restart(*head);
    } else if (head && head->tree.size() > walk_.next() + walk_.pending()) {
      find(Code::kCorrupt, walk_.next(), "", 0,
           range_text(walk_.next(), head->tree.size()) + " are not here");
      restart(*head);
    } else if (head && tree_broken_ && head->tree.size() == walk_.next()) {
      restart(*head);
    } else if (!head && first && claimed > 0) {
      // Its own lines will show where they hold again.
      find(Code::kCorrupt, 0, "", 0, range_text(0, claimed) + " are not here");
      walk_ = LineWalk(mac_, {}, claimed);
      tree_broken_ = true;
    }
  }

  void restart(const LogHead& head) {
    walk_ = LineWalk(mac_, head.prev, head.tree.size());
    tree_ = head.tree;
    tree_broken_ = false;
    compare();
  }

  void take(Bytes line) {
    const std::uint64_t expected = walk_.next();
    if (walk_.pending() == 0) {
      pending_file_ = file_;
      pending_row_ = row_;
    }
    const auto end = parse_line_end(line);
    if (walk_.pending() == 0) pending_n_ = end ? std::optional(end->n) : std::nullopt;
    switch (walk_.step(line)) {
      case LineWalk::Found::kPending:
        return;
      case LineWalk::Found::kDamage:
        find_altered(expected, end->n);
        tree_broken_ = true;
        return;
      case LineWalk::Found::kHolds:
        summary_.torn += walk_.leaves().size() - 1;
        if (tree_broken_) return;
        for (const Digest& leaf : walk_.leaves()) {
          tree_.append(leaf);
          compare();
        }
    }
  }

  /// `going_on`: the number of the line from which on things hold again.
  void find_altered(std::uint64_t expected, std::uint64_t going_on) {
    std::string what = "altered";
    if (pending_n_ && *pending_n_ > expected) {
      what = range_text(expected, *pending_n_) + " are not here, or not in their place";
    } else if (pending_n_ && *pending_n_ < expected) {
      what = "line " + std::to_string(*pending_n_) + " stands here, out of its place";
    } else if (going_on > expected + 1) {
      what = "altered, or lines up to " + std::to_string(going_on - 1) + " are gone";
    }
    find(Code::kCorrupt, expected, pending_file_, pending_row_, what);
  }

  void find(Code code, std::uint64_t line, const std::string& file, std::uint64_t row,
            std::string what) {
    findings_.push_back({.code = code,
                         .log = summary_.log,
                         .line = line,
                         .file = file,
                         .row = row,
                         .what = std::move(what)});
  }

  void compare() {
    for (; checked_ < checkpoints_.size() && checkpoints_[checked_].size <= tree_.size();
         ++checked_) {
      const OpenCheckpoint& checkpoint = checkpoints_[checked_];
      if (checkpoint.size < tree_.size()) {
        verdict_.notes.push_back(checkpoint.source + " is of lines that are not here");
      } else if (checkpoint.root == tree_.root()) {
        ++summary_.proven;
        summary_.signed_lines = checkpoint.size;
      } else {
        find(Code::kCorrupt, summary_.signed_lines, "", 0,
             "a line between this one and line " + std::to_string(checkpoint.size) +
                 " is not what it was, says " + checkpoint.source);
      }
    }
  }

  const LineMac& mac_;
  std::vector<OpenCheckpoint> checkpoints_;
  const VerifyOptions& options_;
  LogVerdict& verdict_;
  LineWalk walk_;
  MerkleTree tree_;
  bool tree_broken_ = false;
  std::size_t checked_ = 0;
  LogSummary summary_;
  std::vector<LogFinding> findings_;
  std::string file_;
  std::uint64_t row_ = 0;
  bool ended_ = true;
  std::string pending_file_;  // of the first line that does not hold
  std::uint64_t pending_row_ = 0;
  std::optional<std::uint64_t> pending_n_;
};

/// Where the lines of a file belong whose first line does not hold: by what most of the next ones
/// say. Nothing if none has a number.
Result<std::optional<std::uint64_t>> first_by_its_lines(const std::string& path) {
  constexpr std::uint64_t kVoters = 64;
  const UniqueFd fd = TRY(open_log_file(path));
  LineReader reader(fd.get());
  std::map<std::uint64_t, std::uint64_t> votes;
  for (std::uint64_t row = 0; row < kVoters && TRY(reader.next()); ++row) {
    const auto end = parse_line_end(reader.line());
    if (end && end->n >= row) ++votes[end->n - row];
    if (!reader.ended()) break;
  }
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most != votes.end() ? std::optional(most->first) : std::optional<std::uint64_t>();
}

class AllLogs {
 public:
  AllLogs(std::string path, StoreId store, const AuditKeys& keys)
      : path_(std::move(path)),
        store_(store),
        mac_(keys.lines.expose()),
        public_key_(Ed25519Key(keys.seed.clone()).public_key()) {}

  Result<LogVerdict> verify(std::span<const KnownCheckpoint> checkpoints,
                            const VerifyOptions& options) {
    for (const KnownCheckpoint& checkpoint : checkpoints) open(checkpoint);
    if (const auto side = read_side_file(path_, mac_)) {
      side_log_ = side->id;
      open({.source = name_of(side_file_path(path_)), .note = side->note});
    }
    TRY(place_files());
    for (auto& [log, files] : files_) {
      std::stable_sort(files.begin(), files.end(),
                       [](const PlacedFile& a, const PlacedFile& b) { return a.first < b.first; });
      OneLog one(log, mac_, checkpoints_[log], options, verdict_);
      for (const PlacedFile& file : files) TRY(one.add(file));
      one.finish();
    }
    for (const auto& [log, known] : checkpoints_) find_missing(log, known);
    return std::move(verdict_);
  }

 private:
  void find(Code code, LogId log, std::string what) {
    LogFinding finding;
    finding.code = code;
    finding.log = log;
    finding.what = std::move(what);
    verdict_.findings.push_back(std::move(finding));
  }

  void open(const KnownCheckpoint& known) {
    const auto opened = open_checkpoint(known.note, public_key_);
    if (!opened) {
      find(Code::kCorrupt, {}, known.source + ": " + opened.error().message());
      return;
    }
    const std::string prefix = log_origin(store_, LogId{}).substr(0, 7 + 32 + 1);
    const auto id = opened->origin.starts_with(prefix)
                        ? from_hex(std::string_view(opened->origin).substr(prefix.size()))
                        : Result<ByteVector>(ByteVector());
    if (!id || id->size() != sizeof(LogId::bytes)) {
      find(Code::kCorrupt, {}, known.source + ": is of no log of this store");
      return;
    }
    checkpoints_[LogId::from(*id)].push_back({.source = known.source,
                                              .is_here = known.is_here,
                                              .size = opened->size,
                                              .root = opened->root});
  }

  Result<void> place_files() {
    std::vector<std::pair<LogFile, std::uint64_t>> lost;
    for (const LogFile& file : TRY(find_log_files(path_))) {
      const UniqueFd fd = TRY(open_log_file(file.path));
      LineReader reader(fd.get());
      if (!TRY(reader.next())) continue;
      if (const auto head = parse_head(reader.line(), mac_)) {
        files_[head->id].push_back({file.path, head->id, head->tree.size(), file.time});
      } else if (const auto first = TRY(first_by_its_lines(file.path))) {
        lost.emplace_back(file, *first);
      } else {
        verdict_.notes.push_back(name_of(file.path) + " has no line of a log that can be proven");
      }
    }
    for (const auto& [file, first] : lost) {
      const LogId log = likely_log(file);
      files_[log].push_back({file.path, log, first, file.time});
    }
    return {};
  }

  /// Of a file whose first line does not tell any more.
  LogId likely_log(const LogFile& file) {
    for (const auto& [log, files] : files_) {
      if (name_of(file.path).find("." + log.hex().substr(0, 8) + ".") != std::string::npos) {
        return log;
      }
    }
    if (file.current && side_log_) return *side_log_;
    // The one that was written last.
    const PlacedFile* newest = nullptr;
    for (const auto& [log, files] : files_) {
      for (const PlacedFile& one : files) {
        if (newest == nullptr || one.time > newest->time) newest = &one;
      }
    }
    if (newest != nullptr) return newest->log;
    for (const auto& [log, known] : checkpoints_) {
      if (known.front().is_here) return log;
    }
    return LogId{};
  }

  void find_missing(LogId log, const std::vector<OpenCheckpoint>& known) {
    if (files_.contains(log)) return;
    for (const OpenCheckpoint& checkpoint : known) {
      if (!checkpoint.is_here) continue;
      find(Code::kRolledBack, log,
           "no line of this log is here; there were " + std::to_string(checkpoint.size) +
               ", says " + checkpoint.source);
      return;
    }
  }

  const std::string path_;
  const StoreId store_;
  const LineMac mac_;
  const Ed25519PublicKey public_key_;
  std::optional<LogId> side_log_;
  std::map<LogId, std::vector<OpenCheckpoint>> checkpoints_;
  std::map<LogId, std::vector<PlacedFile>> files_;
  LogVerdict verdict_;
};

/// Which files there are, each with what tells it from another of that name.
Result<std::vector<std::pair<std::string, ino_t>>> listing(const std::string& path) {
  std::vector<std::pair<std::string, ino_t>> files;
  for (const LogFile& file : TRY(find_log_files(path))) {
    FileStatus status{};
    if (::lstat(file.path.c_str(), &status) == 0) files.emplace_back(file.path, status.st_ino);
  }
  return files;
}

}  // namespace

Result<LogVerdict> verify_logs(const std::string& path, StoreId store, const AuditKeys& keys,
                               std::span<const KnownCheckpoint> checkpoints,
                               const VerifyOptions& options) {
  constexpr int kMostAttempts = 5;
  for (int attempt = 1;; ++attempt) {
    const auto before = TRY(listing(path));
    auto verdict = AllLogs(path, store, keys).verify(checkpoints, options);
    // A file that was renamed meanwhile may have been read twice, or not at all.
    if (attempt == kMostAttempts || before == TRY(listing(path))) return verdict;
  }
}

}  // namespace coffer
