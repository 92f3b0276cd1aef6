#include "fs/content/body.h"

namespace coffer {
namespace {

/// Bytes that are copied from the journal to their places at once.
constexpr std::size_t kApplySize = std::size_t{1} << 20U;

}  // namespace

Result<std::size_t> Body::read(std::uint64_t place, MutableBytes out) const {
  std::size_t length = TRY(file_.read(place, out));
  if (instead_.empty()) return length;
  // What is read begins where a piece does.
  for (auto next = instead_.lower_bound(place);
       next != instead_.end() && next->first < place + out.size(); ++next) {
    const std::size_t at = next->first - place;
    if (at > length) break;
    const MutableBytes part =
        out.subspan(at, std::min<std::uint64_t>(next->second.length, out.size() - at));
    TRY(journal_.read(next->second.at, part));
    length = std::max(length, at + part.size());
  }
  return length;
}

Result<void> Body::write(JournalKind kind, std::uint64_t place, Bytes data, std::uint64_t piece,
                         const Holes& holes) {
  struct Run {
    std::uint64_t place;
    Bytes data;
    std::uint64_t at;
  };
  std::array<Run, kFanOut> journaled;
  std::size_t runs = 0;
  const Journal::Mark mark = journal_.mark();
  const auto write_all = [&]() -> Result<void> {
    std::size_t index = 0;
    for (std::uint64_t at = 0; at < data.size();) {
      const auto straight = [&] { return holes[index] || place + at >= counted_end_; };
      const bool is_straight = straight();
      const std::uint64_t from = at;
      while (at < data.size() && straight() == is_straight) {
        at += piece;
        ++index;
      }
      const Bytes run = data.subspan(from, std::min<std::uint64_t>(at, data.size()) - from);
      if (is_straight) {
        TRY(file_.write(place + from, run));
        unsynced_ = true;
      } else {
        journaled[runs++] = {place + from, run, TRY(journal_.append(kind, place + from, run))};
      }
    }
    return {};
  };
  if (auto written = write_all(); !written) {
    journal_.rewind(mark);
    return written;
  }
  for (std::size_t i = 0; i < runs; ++i) {
    stand_in(journaled[i].place, journaled[i].at, journaled[i].data.size(), piece);
  }
  return {};
}

void Body::stand_in(std::uint64_t place, std::uint64_t at, std::uint64_t length,
                    std::uint64_t piece) {
  for (std::uint64_t done = 0; done < length; done += piece) {
    instead_.insert_or_assign(place + done,
                              Instead{.at = at + done, .length = std::min(piece, length - done)});
  }
}

void Body::overlay(std::span<const JournalContent::Piece> pieces, std::uint64_t chunk_size) {
  instead_.clear();
  for (const auto& piece : pieces) {
    stand_in(piece.place, piece.at, piece.length,
             piece.kind == JournalKind::kNode ? kBlockSize : chunk_size);
  }
}

Result<void> Body::apply() {
  ByteVector buffer;
  buffer.reserve(kApplySize);
  std::uint64_t first = 0;
  const auto flush = [&]() -> Result<void> {
    if (!buffer.empty()) {
      unsynced_ = true;
      TRY(file_.write(first, buffer));
    }
    buffer.clear();
    return {};
  };
  for (const auto& [place, instead] : instead_) {
    const bool follows = place == first + buffer.size();
    if (!follows || buffer.size() + instead.length > kApplySize) TRY(flush());
    if (buffer.empty()) first = place;
    const std::size_t at = buffer.size();
    buffer.resize(at + instead.length);
    TRY(journal_.read(instead.at, MutableBytes(buffer).subspan(at)));
  }
  return flush();
}

}  // namespace coffer
