#include "tests/support/fs_syscalls.h"

#include <algorithm>
#include <cerrno>

namespace coffer::testing {

bool HookedSyscalls::fails(const SystemCall& call) const {
  const int reason = before ? before(call) : 0;
  if (reason != 0) errno = reason;
  return reason != 0;
}

std::size_t HookedSyscalls::limited(const SystemCall& call) const {
  return limit ? std::min(call.count, limit(call)) : call.count;
}

int HookedSyscalls::openat(int dir, const char* name, int flags, mode_t mode) {
  if (fails({.what = "openat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::openat(dir, name, flags, mode);
}

ssize_t HookedSyscalls::pread(int fd, void* buffer, std::size_t count, off_t offset) {
  const SystemCall call{
      .what = "pread", .fd = fd, .offset = static_cast<std::uint64_t>(offset), .count = count};
  if (fails(call)) return -1;
  return Syscalls::pread(fd, buffer, limited(call), offset);
}

ssize_t HookedSyscalls::pwrite(int fd, const void* buffer, std::size_t count, off_t offset) {
  const SystemCall call{
      .what = "pwrite", .fd = fd, .offset = static_cast<std::uint64_t>(offset), .count = count};
  if (fails(call)) return -1;
  return Syscalls::pwrite(fd, buffer, limited(call), offset);
}

int HookedSyscalls::ftruncate(int fd, off_t size) {
  if (fails({.what = "ftruncate", .fd = fd, .offset = static_cast<std::uint64_t>(size)})) {
    return -1;
  }
  return Syscalls::ftruncate(fd, size);
}

int HookedSyscalls::fallocate(int fd, int mode, off_t offset, off_t length) {
  if (fails({.what = "fallocate",
             .fd = fd,
             .offset = static_cast<std::uint64_t>(offset),
             .count = static_cast<std::size_t>(length),
             .flags = mode})) {
    return -1;
  }
  return Syscalls::fallocate(fd, mode, offset, length);
}

int HookedSyscalls::fsync(int fd) {
  if (fails({.what = "fsync", .fd = fd})) return -1;
  return Syscalls::fsync(fd);
}

int HookedSyscalls::fdatasync(int fd) {
  if (fails({.what = "fdatasync", .fd = fd})) return -1;
  return Syscalls::fdatasync(fd);
}

int HookedSyscalls::syncfs(int fd) {
  if (fails({.what = "syncfs", .fd = fd})) return -1;
  return Syscalls::syncfs(fd);
}

int HookedSyscalls::fstat(int fd, struct stat* status) {
  if (fails({.what = "fstat", .fd = fd})) return -1;
  return Syscalls::fstat(fd, status);
}

int HookedSyscalls::fstatat(int dir, const char* name, struct stat* status, int flags) {
  if (fails({.what = "fstatat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::fstatat(dir, name, status, flags);
}

int HookedSyscalls::fstatvfs(int fd, struct statvfs* status) {
  if (fails({.what = "fstatvfs", .fd = fd})) return -1;
  return Syscalls::fstatvfs(fd, status);
}

int HookedSyscalls::fchmod(int fd, mode_t mode) {
  if (fails({.what = "fchmod", .fd = fd})) return -1;
  return Syscalls::fchmod(fd, mode);
}

int HookedSyscalls::fchmodat(int dir, const char* name, mode_t mode, int flags) {
  if (fails({.what = "fchmodat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::fchmodat(dir, name, mode, flags);
}

int HookedSyscalls::fchown(int fd, uid_t uid, gid_t gid) {
  if (fails({.what = "fchown", .fd = fd})) return -1;
  return Syscalls::fchown(fd, uid, gid);
}

int HookedSyscalls::fchownat(int dir, const char* name, uid_t uid, gid_t gid, int flags) {
  if (fails({.what = "fchownat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::fchownat(dir, name, uid, gid, flags);
}

int HookedSyscalls::futimens(int fd, const struct timespec times[2]) {
  if (fails({.what = "futimens", .fd = fd})) return -1;
  return Syscalls::futimens(fd, times);
}

int HookedSyscalls::utimensat(int dir, const char* name, const struct timespec times[2],
                              int flags) {
  if (fails({.what = "utimensat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::utimensat(dir, name, times, flags);
}

int HookedSyscalls::mkdirat(int dir, const char* name, mode_t mode) {
  if (fails({.what = "mkdirat", .name = name, .fd = dir})) return -1;
  return Syscalls::mkdirat(dir, name, mode);
}

int HookedSyscalls::mknodat(int dir, const char* name, mode_t mode, dev_t device) {
  if (fails({.what = "mknodat", .name = name, .fd = dir})) return -1;
  return Syscalls::mknodat(dir, name, mode, device);
}

int HookedSyscalls::unlinkat(int dir, const char* name, int flags) {
  if (fails({.what = "unlinkat", .name = name, .fd = dir, .flags = flags})) return -1;
  return Syscalls::unlinkat(dir, name, flags);
}

int HookedSyscalls::renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                              unsigned flags) {
  if (fails({.what = "renameat2", .name = old_name, .fd = old_dir})) return -1;
  return Syscalls::renameat2(old_dir, old_name, new_dir, new_name, flags);
}

int HookedSyscalls::linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
                           int flags) {
  if (fails({.what = "linkat", .name = old_name, .fd = old_dir, .flags = flags})) return -1;
  return Syscalls::linkat(old_dir, old_name, new_dir, new_name, flags);
}

int HookedSyscalls::symlinkat(const char* target, int dir, const char* name) {
  if (fails({.what = "symlinkat", .name = name, .fd = dir})) return -1;
  return Syscalls::symlinkat(target, dir, name);
}

ssize_t HookedSyscalls::readlinkat(int dir, const char* name, char* buffer, std::size_t size) {
  if (fails({.what = "readlinkat", .name = name, .fd = dir})) return -1;
  return Syscalls::readlinkat(dir, name, buffer, size);
}

}  // namespace coffer::testing
