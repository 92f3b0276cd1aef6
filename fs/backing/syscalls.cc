#include "fs/backing/syscalls.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>

namespace coffer {

int Syscalls::openat(int dir, const char* name, int flags, mode_t mode) {
  return ::openat(dir, name, flags, mode);
}

ssize_t Syscalls::pread(int fd, void* buffer, std::size_t count, off_t offset) {
  return ::pread(fd, buffer, count, offset);
}

ssize_t Syscalls::pwrite(int fd, const void* buffer, std::size_t count, off_t offset) {
  return ::pwrite(fd, buffer, count, offset);
}

int Syscalls::ftruncate(int fd, off_t size) { return ::ftruncate(fd, size); }
int Syscalls::fallocate(int fd, int mode, off_t offset, off_t length) {
  return ::fallocate(fd, mode, offset, length);
}
int Syscalls::fsync(int fd) { return ::fsync(fd); }
int Syscalls::fdatasync(int fd) { return ::fdatasync(fd); }
int Syscalls::syncfs(int fd) { return ::syncfs(fd); }
int Syscalls::fstat(int fd, struct stat* status) { return ::fstat(fd, status); }

int Syscalls::fstatat(int dir, const char* name, struct stat* status, int flags) {
  return ::fstatat(dir, name, status, flags);
}

int Syscalls::fstatvfs(int fd, struct statvfs* status) { return ::fstatvfs(fd, status); }
int Syscalls::fchmod(int fd, mode_t mode) { return ::fchmod(fd, mode); }

int Syscalls::fchmodat(int dir, const char* name, mode_t mode, int flags) {
  return ::fchmodat(dir, name, mode, flags);
}

int Syscalls::fchown(int fd, uid_t uid, gid_t gid) { return ::fchown(fd, uid, gid); }

int Syscalls::fchownat(int dir, const char* name, uid_t uid, gid_t gid, int flags) {
  return ::fchownat(dir, name, uid, gid, flags);
}

int Syscalls::futimens(int fd, const struct timespec times[2]) { return ::futimens(fd, times); }

int Syscalls::utimensat(int dir, const char* name, const struct timespec times[2], int flags) {
  return ::utimensat(dir, name, times, flags);
}

int Syscalls::mkdirat(int dir, const char* name, mode_t mode) { return ::mkdirat(dir, name, mode); }

int Syscalls::mknodat(int dir, const char* name, mode_t mode, dev_t device) {
  return ::mknodat(dir, name, mode, device);
}

int Syscalls::unlinkat(int dir, const char* name, int flags) {
  return ::unlinkat(dir, name, flags);
}

int Syscalls::renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                        unsigned flags) {
  return ::renameat2(old_dir, old_name, new_dir, new_name, flags);
}

int Syscalls::linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
                     int flags) {
  return ::linkat(old_dir, old_name, new_dir, new_name, flags);
}

int Syscalls::symlinkat(const char* target, int dir, const char* name) {
  return ::symlinkat(target, dir, name);
}

ssize_t Syscalls::readlinkat(int dir, const char* name, char* buffer, std::size_t size) {
  return ::readlinkat(dir, name, buffer, size);
}

Syscalls& real_syscalls() {
  static Syscalls calls;
  return calls;
}

}  // namespace coffer
