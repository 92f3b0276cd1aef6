#include "keystore/base/file_lock.h"

#include <sys/file.h>

#include <cerrno>
#include <thread>

namespace coffer {

Result<FileLock> FileLock::take(int fd, std::chrono::steady_clock::time_point deadline) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return errno_error(errno);
    if (std::chrono::steady_clock::now() >= deadline) return errno_error(EBUSY);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return FileLock(fd);
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::flock(fd_, LOCK_UN);
}

}  // namespace coffer
