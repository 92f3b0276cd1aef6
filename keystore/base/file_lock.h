#pragma once

#include <chrono>
#include <utility>

#include "keystore/base/result.h"

namespace coffer {

/// An exclusive lock on a file (flock) among processes, held as long as it lives. `fd` outlives it.
class FileLock {
 public:
  /// EBUSY if another process still holds it at `deadline`.
  static Result<FileLock> take(int fd, std::chrono::steady_clock::time_point deadline);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace coffer
