#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "mount-tools/progress.h"

namespace coffer {

/// What became of an import or export.
struct TransferCounts {
  std::uint64_t copied = 0;
  std::uint64_t unchanged = 0;
  std::uint64_t skipped = 0;  ///< what can't be kept: sockets, devices
  /// Of those copied, how many lack attributes that could not be kept.
  std::uint64_t attributes_left_out = 0;
  std::uint64_t failed = 0;
  Error first_failure;  ///< if any failed
};

/// Counts what becomes of each file while several threads copy, and says on stderr what failed.
/// Thread-safe.
class TransferTally {
 public:
  explicit TransferTally(Progress& progress) : progress_(progress) {}

  void count(std::uint64_t TransferCounts::*what);
  void fail(const std::string& what, const Error& error);
  /// Attributes of `what` that could not be kept, if any.
  void left_out(const std::string& what, const std::vector<std::string>& attributes);
  [[nodiscard]] TransferCounts counts() const;

 private:
  Progress& progress_;
  mutable Mutex mutex_;
  TransferCounts counts_ GUARDED_BY(mutex_);
};

/// Taken for the same state of a file, without reading it: of one size, and modified at one time.
bool same_state(const struct stat& one, const struct stat& other);

/// Gives a file or directory outside the store its owner (for root), mode and times; a symlink is
/// not followed.
Result<void> set_attributes(const std::string& target, const struct stat& status);

/// Where a file goes that is copied to `destination`: into it if that is a directory.
std::string file_target(const std::string& destination, const std::string& name);

/// "coffer: WHAT: why", for one thing of many that failed; says WHAT once.
std::string failure_line(const std::string& what, const Error& error);

/// The summary of an import or export on stdout; gives the exit code: that of the first failure if
/// there was any.
int report_transfer(const char* verb, const TransferCounts& counts, std::uint64_t bytes,
                    double seconds, bool json);

}  // namespace coffer
