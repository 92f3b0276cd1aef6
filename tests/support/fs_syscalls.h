#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "fs/backing/syscalls.h"

namespace coffer::testing {

/// A system call about to be made.
struct SystemCall {
  std::string_view what;  ///< its name: "pwrite"
  std::string name{};     ///< of the file, where the call takes one
  int fd = -1;            ///< the file's or directory's
  std::uint64_t offset = 0;
  std::size_t count = 0;  ///< bytes to read or write
  int flags = 0;          ///< as the call's
};

/// The real system calls, with a test's word before each. Set the hooks before other threads begin;
/// they have to be as thread-safe as the test is.
class HookedSyscalls : public Syscalls {
 public:
  /// Asked before each call: the errno to fail it with, or 0 to let it through.
  std::function<int(const SystemCall&)> before;
  /// Asked before pread and pwrite: how many bytes of it to do.
  std::function<std::size_t(const SystemCall&)> limit;

  int openat(int dir, const char* name, int flags, mode_t mode) override;
  ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset) override;
  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override;
  int ftruncate(int fd, off_t size) override;
  int fallocate(int fd, int mode, off_t offset, off_t length) override;
  int fsync(int fd) override;
  int fdatasync(int fd) override;
  int syncfs(int fd) override;
  int fstat(int fd, struct stat* status) override;
  int fstatat(int dir, const char* name, struct stat* status, int flags) override;
  int fstatvfs(int fd, struct statvfs* status) override;
  int fchmod(int fd, mode_t mode) override;
  int fchmodat(int dir, const char* name, mode_t mode, int flags) override;
  int fchown(int fd, uid_t uid, gid_t gid) override;
  int fchownat(int dir, const char* name, uid_t uid, gid_t gid, int flags) override;
  int futimens(int fd, const struct timespec times[2]) override;
  int utimensat(int dir, const char* name, const struct timespec times[2], int flags) override;
  int mkdirat(int dir, const char* name, mode_t mode) override;
  int mknodat(int dir, const char* name, mode_t mode, dev_t device) override;
  int unlinkat(int dir, const char* name, int flags) override;
  int renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                unsigned flags) override;
  int linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
             int flags) override;
  int symlinkat(const char* target, int dir, const char* name) override;
  ssize_t readlinkat(int dir, const char* name, char* buffer, std::size_t size) override;

 private:
  /// True, and errno set, if the call has to fail.
  bool fails(const SystemCall& call) const;
  [[nodiscard]] std::size_t limited(const SystemCall& call) const;
};

}  // namespace coffer::testing
