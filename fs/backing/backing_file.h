#pragma once

#include <sys/stat.h>

#include "fs/backing/syscalls.h"
#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// An open file of the backing directory. Calls are thread-safe as the system calls behind them
/// are. Offsets and sizes in bytes of the backing file. Errors carry the errno.
class BackingFile {
 public:
  BackingFile(Syscalls& calls, UniqueFd fd, bool writable)
      : calls_(&calls), fd_(std::move(fd)), writable_(writable) {}

  /// Fills `out` from `offset` on; less only at the end of the file.
  Result<std::size_t> read(std::uint64_t offset, MutableBytes out) const;
  /// All of `data`, or an error (then any part may have been written).
  Result<void> write(std::uint64_t offset, Bytes data) const;
  Result<void> truncate(std::uint64_t size) const;
  /// Room for [offset, offset + length); the size stays. EOPNOTSUPP if the filesystem can't.
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) const;
  /// Gives the room of [offset, offset + length) back, which reads as zeros then; the size stays.
  /// EOPNOTSUPP if the filesystem can't.
  Result<void> punch(std::uint64_t offset, std::uint64_t length) const;
  /// fsync, or fdatasync if `data_only`.
  Result<void> sync(bool data_only) const;
  Result<struct stat> status() const;
  Result<void> set_mode(mode_t mode) const;
  Result<void> set_owner(uid_t uid, gid_t gid) const;
  /// As futimens: {access, modification}, UTIME_OMIT and UTIME_NOW included.
  Result<void> set_times(const struct timespec (&times)[2]) const;
  /// Its modification time is now.
  Result<void> touch() const;

  [[nodiscard]] bool writable() const { return writable_; }
  /// The same file, deleted or not, opened for reading once more: what a network filesystem keeps
  /// of it is looked at anew.
  Result<BackingFile> reopened() const;
  /// Opens the same file, deleted or not, for writing too, if it was not; its mode does not bind us
  /// who own it. The descriptor keeps its number, so that other threads' calls go on meanwhile;
  /// those of this function and of `writable` are to be kept apart.
  Result<void> make_writable();

 private:
  Result<void> allocate(int mode, std::uint64_t offset, std::uint64_t length) const;

  Syscalls* calls_;
  UniqueFd fd_;
  bool writable_;
};

}  // namespace coffer
