#pragma once

#include <span>
#include <string>
#include <vector>

#include "keystore/audit/log_files.h"
#include "keystore/audit/log_writer.h"

namespace coffer {

/// A signed checkpoint to hold a log against.
struct KnownCheckpoint {
  std::string source;  ///< for people: a file's name, "the keystore"
  std::string note;
  /// The log it is of has to be here; else it is compared if it is.
  bool is_here = true;
};

/// Something that does not hold.
struct LogFinding {
  Code code = Code::kCorrupt;  ///< kCorrupt, or kRolledBack if what is there ends too early
  LogId log;
  std::uint64_t line = 0;  ///< the first line's number in its log
  std::string file;        ///< where it lies; empty if it is not there
  std::uint64_t row = 0;   ///< in that file, from 1
  std::string what;
};

/// What was found of one log.
struct LogSummary {
  LogId log;
  std::uint64_t first = 0;  ///< number of the first line that is there
  std::uint64_t lines = 0;  ///< one above that of the last
  std::size_t files = 0;
  std::uint64_t torn = 0;          ///< lines that a crash left, and a later line vouches for
  std::size_t proven = 0;          ///< checkpoints that it agrees with
  std::uint64_t signed_lines = 0;  ///< how far the largest of those reaches
};

struct LogVerdict {
  std::vector<LogSummary> logs;
  std::vector<LogFinding> findings;  ///< in the order of the logs, and of their lines
  std::vector<std::string> notes;    ///< what is worth knowing, and no offence
};

struct VerifyOptions {
  bool allow_removed = false;  ///< lines that are gone from the beginning are no finding
};

/// Proves all lines of the logs at `path` (keystore/AUDIT.md, "Proof"). Errors are for what could
/// not be read.
Result<LogVerdict> verify_logs(const std::string& path, StoreId store, const AuditKeys& keys,
                               std::span<const KnownCheckpoint> checkpoints,
                               const VerifyOptions& options);

}  // namespace coffer
