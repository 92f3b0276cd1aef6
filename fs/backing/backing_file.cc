#include "fs/backing/backing_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "fs/backing/mode_loan.h"

namespace coffer {
namespace {

std::string descriptor_path(const UniqueFd& fd) {
  return "/proc/self/fd/" + std::to_string(fd.get());
}

}  // namespace

Result<std::size_t> BackingFile::read(std::uint64_t offset, MutableBytes out) const {
  std::size_t total = 0;
  while (total < out.size()) {
    const ssize_t done = calls_->pread(fd_.get(), out.data() + total, out.size() - total,
                                       static_cast<off_t>(offset + total));
    if (done < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "reading the backing file");
    }
    if (done == 0) break;
    total += static_cast<std::size_t>(done);
  }
  return total;
}

Result<void> BackingFile::write(std::uint64_t offset, Bytes data) const {
  while (!data.empty()) {
    const ssize_t done =
        calls_->pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (done < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "writing the backing file");
    }
    if (done == 0) return errno_error(ENOSPC, "writing the backing file");
    offset += static_cast<std::uint64_t>(done);
    data = data.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

Result<void> BackingFile::truncate(std::uint64_t size) const {
  while (calls_->ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) return errno_error(errno, "truncating the backing file");
  }
  return {};
}

Result<void> BackingFile::allocate(int mode, std::uint64_t offset, std::uint64_t length) const {
  while (calls_->fallocate(fd_.get(), mode, static_cast<off_t>(offset),
                           static_cast<off_t>(length)) != 0) {
    if (errno != EINTR) return errno_error(errno, "allocating room in the backing file");
  }
  return {};
}

Result<void> BackingFile::allocate(std::uint64_t offset, std::uint64_t length) const {
  return allocate(FALLOC_FL_KEEP_SIZE, offset, length);
}

Result<void> BackingFile::punch(std::uint64_t offset, std::uint64_t length) const {
  return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

Result<void> BackingFile::sync(bool data_only) const {
  while ((data_only ? calls_->fdatasync(fd_.get()) : calls_->fsync(fd_.get())) != 0) {
    if (errno != EINTR) return errno_error(errno, "syncing the backing file");
  }
  return {};
}

Result<struct stat> BackingFile::status() const {
  struct stat status {};
  if (calls_->fstat(fd_.get(), &status) != 0) return errno_error(errno, "stat of the backing file");
  return status;
}

Result<void> BackingFile::set_mode(mode_t mode) const {
  if (calls_->fchmod(fd_.get(), mode) != 0) return errno_error(errno, "chmod of the backing file");
  return {};
}

Result<void> BackingFile::set_owner(uid_t uid, gid_t gid) const {
  if (calls_->fchown(fd_.get(), uid, gid) != 0)
    return errno_error(errno, "chown of the backing file");
  return {};
}

Result<void> BackingFile::set_times(const struct timespec (&times)[2]) const {
  if (calls_->futimens(fd_.get(), times) != 0)
    return errno_error(errno, "setting times of the backing file");
  return {};
}

Result<void> BackingFile::touch() const {
  constexpr struct timespec kNow[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                       {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
  return set_times(kNow);
}

Result<BackingFile> BackingFile::reopened() const {
  const std::string name = descriptor_path(fd_);
  UniqueFd fd(calls_->openat(AT_FDCWD, name.c_str(), O_RDONLY | O_CLOEXEC, 0));
  // Its mode may have been closed to us since; what we have open stays so.
  if (!fd.valid() && errno == EACCES) fd = UniqueFd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "opening the backing file again");
  return BackingFile(*calls_, std::move(fd), false);
}

Result<void> BackingFile::make_writable() {
  if (writable_) return {};
  const std::string name = descriptor_path(fd_);
  const auto open = [&] {
    return UniqueFd(calls_->openat(AT_FDCWD, name.c_str(), O_RDWR | O_CLOEXEC, 0));
  };
  UniqueFd fd = open();
  if (!fd.valid() && errno == EACCES) {
    const ModeLoan loan{.status = [&] { return status(); },
                        .set_mode = [&](mode_t mode) { return set_mode(mode); },
                        .open = open};
    fd = TRY(open_on_loan(loan, S_IRUSR | S_IWUSR));
  }
  if (!fd.valid() || ::dup3(fd.get(), fd_.get(), O_CLOEXEC) < 0) {
    return errno_error(errno, "opening the backing file for writing");
  }
  writable_ = true;
  return {};
}

}  // namespace coffer
