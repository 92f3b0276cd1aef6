#include "keystore/audit/log_tail.h"

#include <array>

#include "keystore/audit/log_files.h"

namespace coffer {
namespace {

/// How much of a file's end is looked through for a line that holds.
constexpr std::array<std::uint64_t, 3> kWindows = {64 * 1024, 1024 * 1024, 16 * 1024 * 1024};

}  // namespace

Result<LogHead> read_head(int fd, const LineMac& mac) {
  LineReader reader(fd);
  if (!TRY(reader.next())) return Error{Code::kInvalid, 0, "an empty file"};
  return parse_head(reader.line(), mac);
}

Result<std::optional<LogTail>> read_tail(int fd, const LogHead& head, std::uint64_t size,
                                         const LineMac& mac) {
  for (const std::uint64_t window : kWindows) {
    const std::uint64_t start = size > window ? size - window : 0;
    LineReader reader(fd, start);
    std::optional<LineWalk> walk;
    if (start == 0) walk.emplace(mac, head.prev, head.tree.size());
    bool any = false;
    bool ended = true;
    // What the window cuts in two is no line.
    bool whole = start == 0;
    while (TRY(reader.next())) {
      ended = reader.ended();
      if (walk) {
        any = walk->step(reader.line()) != LineWalk::Found::kPending || any;
      } else if (const auto end = parse_line_end(reader.line()); whole && end) {
        walk.emplace(mac, end->mac, end->n + 1);
      }
      whole = true;
      if (!ended) break;
    }
    if (any && walk->pending() <= kMostTorn && (walk->pending() == 0 || !ended)) {
      return std::optional(LogTail{.id = head.id,
                                   .first = head.tree.size(),
                                   .next = walk->next() + walk->pending(),
                                   .torn = walk->pending(),
                                   .chain = walk->pending_chain(),
                                   .unended = !ended,
                                   .end = size});
    }
    if (start == 0) break;
  }
  return std::optional<LogTail>();
}

}  // namespace coffer
