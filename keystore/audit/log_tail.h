#pragma once

#include <cstdint>
#include <optional>

#include "keystore/audit/log_line.h"
#include "keystore/base/result.h"

namespace coffer {

// The end of a log's file, found without reading all of it.

/// Where the next line goes, and what it follows.
struct LogTail {
  LogId id;
  std::uint64_t first = 0;  // number of the file's first line
  std::uint64_t next = 0;
  std::uint64_t torn = 0;  // of which the last ones before it, to be vouched for
  ChainValue chain{};
  bool unended = false;   // the last line lacks its newline
  std::uint64_t end = 0;  // of the file
};

/// Of the first line. kInvalid if there is none; else as parse_head.
Result<LogHead> read_head(int fd, const LineMac& mac);
/// What the end of a file of that size says; nothing if no line of it holds.
Result<std::optional<LogTail>> read_tail(int fd, const LogHead& head, std::uint64_t size,
                                         const LineMac& mac);

}  // namespace coffer
