#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

struct statvfs;

namespace coffer {

/// The system calls that reach the backing directory, and the one seam where faults are injected:
/// tests pass their own, which fail calls in turn or record what was written and synced. Each is
/// the call of its name: -1 and errno on failure. Thread-safe.
class Syscalls {
 public:
  Syscalls() = default;
  Syscalls(const Syscalls&) = delete;
  Syscalls& operator=(const Syscalls&) = delete;
  virtual ~Syscalls() = default;

  virtual int openat(int dir, const char* name, int flags, mode_t mode);
  virtual ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset);
  virtual ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset);
  virtual int ftruncate(int fd, off_t size);
  virtual int fallocate(int fd, int mode, off_t offset, off_t length);
  virtual int fsync(int fd);
  virtual int fdatasync(int fd);
  virtual int syncfs(int fd);
  virtual int fstat(int fd, struct stat* status);
  virtual int fstatat(int dir, const char* name, struct stat* status, int flags);
  virtual int fstatvfs(int fd, struct statvfs* status);
  virtual int fchmod(int fd, mode_t mode);
  virtual int fchmodat(int dir, const char* name, mode_t mode, int flags);
  virtual int fchown(int fd, uid_t uid, gid_t gid);
  virtual int fchownat(int dir, const char* name, uid_t uid, gid_t gid, int flags);
  virtual int futimens(int fd, const struct timespec times[2]);
  virtual int utimensat(int dir, const char* name, const struct timespec times[2], int flags);
  virtual int mkdirat(int dir, const char* name, mode_t mode);
  virtual int mknodat(int dir, const char* name, mode_t mode, dev_t device);
  virtual int unlinkat(int dir, const char* name, int flags);
  virtual int renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                        unsigned flags);
  virtual int linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
                     int flags);
  virtual int symlinkat(const char* target, int dir, const char* name);
  virtual ssize_t readlinkat(int dir, const char* name, char* buffer, std::size_t size);
};

/// Straight to the kernel.
Syscalls& real_syscalls();

}  // namespace coffer
