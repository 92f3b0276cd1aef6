#include "fs/backing/backing_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "fs/backing/mode_loan.h"

namespace coffer {
namespace {

constexpr int kDirFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

}  // namespace

BackingDirReader::BackingDirReader(DIR* stream) : stream_(stream) {}
BackingDirReader::~BackingDirReader() { ::closedir(stream_); }

Result<std::optional<BackingEntry>> BackingDirReader::next() {
  errno = 0;
  const dirent* const entry = ::readdir(stream_);
  if (entry == nullptr) {
    if (errno != 0) return errno_error(errno, "reading a backing directory");
    return std::optional<BackingEntry>();
  }
  position_ = entry->d_off;
  return std::optional<BackingEntry>(BackingEntry{
      .name = entry->d_name, .inode = entry->d_ino, .type = entry->d_type, .next = entry->d_off});
}

void BackingDirReader::seek(std::int64_t position) {
  if (position == position_) return;
  if (position == 0) {
    ::rewinddir(stream_);
  } else {
    ::seekdir(stream_, position);
  }
  position_ = position;
}

Result<std::shared_ptr<const BackingDir>> BackingDir::open_root(Syscalls& calls,
                                                                const std::string& path) {
  UniqueFd fd(calls.openat(AT_FDCWD, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, path);
  return std::make_shared<const BackingDir>(calls, std::move(fd));
}

Result<std::shared_ptr<const BackingDir>> BackingDir::open_dir(const std::string& name) const {
  UniqueFd fd(calls_->openat(fd_.get(), name.c_str(), kDirFlags, 0));
  if (!fd.valid()) return errno_error(errno);
  return std::make_shared<const BackingDir>(*calls_, std::move(fd));
}

Result<BackingFile> BackingDir::open_file(const std::string& name, bool writable) const {
  // O_NONBLOCK: should a fifo stand where a file is expected, opening it must not hang.
  const int flags = (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const auto open = [&] { return UniqueFd(calls_->openat(fd_.get(), name.c_str(), flags, 0)); };
  UniqueFd fd = open();
  if (!fd.valid() && errno == EACCES) {
    const ModeLoan loan{.status = [&] { return status_of(name); },
                        .set_mode = [&](mode_t mode) { return set_mode(name, mode); },
                        .open = open};
    fd = TRY(open_on_loan(loan, S_IRUSR | (writable ? S_IWUSR : 0U)));
  }
  if (!fd.valid()) return errno_error(errno, "opening the backing file");
  return BackingFile(*calls_, std::move(fd), writable);
}

Result<BackingFile> BackingDir::create_file(const std::string& name, mode_t mode) const {
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd fd(calls_->openat(fd_.get(), name.c_str(), flags, mode));
  if (!fd.valid()) return errno_error(errno, "creating the backing file");
  return BackingFile(*calls_, std::move(fd), true);
}

Result<UniqueFd> BackingDir::reopen(int flags) const {
  UniqueFd fd(calls_->openat(fd_.get(), ".", flags | O_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "opening the backing directory");
  return fd;
}

Result<std::unique_ptr<BackingDirReader>> BackingDir::reader() const {
  UniqueFd fd = TRY(reopen(O_RDONLY | O_DIRECTORY));
  DIR* const stream = ::fdopendir(fd.get());
  if (stream == nullptr) return errno_error(errno, "opening the backing directory");
  (void)fd.release();
  return std::make_unique<BackingDirReader>(stream);
}

Result<struct stat> BackingDir::status() const {
  struct stat status {};
  if (calls_->fstatat(fd_.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_error(errno);
  return status;
}

Result<struct stat> BackingDir::status_of(const std::string& name) const {
  struct stat status {};
  if (calls_->fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno);
  return status;
}

Result<UniqueFd> BackingDir::pin(const std::string& name) const {
  UniqueFd fd(calls_->openat(fd_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno);
  return fd;
}

Result<void> BackingDir::make_dir(const std::string& name, mode_t mode) const {
  if (calls_->mkdirat(fd_.get(), name.c_str(), mode) != 0) return errno_error(errno);
  return {};
}

Result<void> BackingDir::make_special(const std::string& name, mode_t mode, dev_t device) const {
  if (calls_->mknodat(fd_.get(), name.c_str(), mode, device) != 0) return errno_error(errno);
  return {};
}

Result<void> BackingDir::make_symlink(const std::string& name, const std::string& target) const {
  if (calls_->symlinkat(target.c_str(), fd_.get(), name.c_str()) != 0) return errno_error(errno);
  return {};
}

Result<std::string> BackingDir::read_symlink(const std::string& name) const {
  std::array<char, 4097> buffer;
  const ssize_t length = calls_->readlinkat(fd_.get(), name.c_str(), buffer.data(), buffer.size());
  if (length < 0) return errno_error(errno);
  return std::string(buffer.data(), static_cast<std::size_t>(length));
}

Result<void> BackingDir::remove_file(const std::string& name) const {
  if (calls_->unlinkat(fd_.get(), name.c_str(), 0) != 0) return errno_error(errno);
  return {};
}

Result<void> BackingDir::remove_dir(const std::string& name) const {
  if (calls_->unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) != 0) return errno_error(errno);
  return {};
}

Result<void> BackingDir::rename(const std::string& name, const BackingDir& to,
                                const std::string& to_name, unsigned flags) const {
  if (calls_->renameat2(fd_.get(), name.c_str(), to.fd_.get(), to_name.c_str(), flags) != 0) {
    return errno_error(errno);
  }
  return {};
}

Result<void> BackingDir::link(const std::string& name, const BackingDir& to,
                              const std::string& to_name) const {
  if (calls_->linkat(fd_.get(), name.c_str(), to.fd_.get(), to_name.c_str(), 0) != 0)
    return errno_error(errno);
  return {};
}

Result<void> BackingDir::set_mode(const std::string& name, mode_t mode) const {
  if (calls_->fchmodat(fd_.get(), name.c_str(), mode, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno);
  return {};
}

Result<void> BackingDir::set_owner(const std::string& name, uid_t uid, gid_t gid) const {
  if (calls_->fchownat(fd_.get(), name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno);
  return {};
}

Result<void> BackingDir::set_times(const std::string& name,
                                   const struct timespec (&times)[2]) const {
  if (calls_->utimensat(fd_.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno);
  return {};
}

Result<ByteVector> BackingDir::read_small(const std::string& name, std::size_t limit) const {
  ByteVector content(limit + 1);
  const auto read = [&]() -> Result<std::size_t> {
    const BackingFile file = TRY(open_file(name, false));
    return file.read(0, content);
  };
  const auto length = read();
  if (!length) {
    // A fifo, a socket or a directory in its place fails in ways that look like the disk's.
    const auto status = status_of(name);
    if (!status || S_ISREG(status->st_mode)) return length.error();
    return Error{Code::kInvalid, length.error().errno_value, name + " is no regular file"};
  }
  if (*length > limit) return Error{Code::kInvalid, 0, name + " is longer than it can be"};
  content.resize(*length);
  return content;
}

Result<void> BackingDir::replace_small(const std::string& name, Bytes content, mode_t mode) const {
  const std::string temporary = name + ".new";
  if (auto removed = remove_file(temporary); !removed && removed.error().code != Code::kNotFound) {
    return removed;
  }
  const auto write = [&]() -> Result<void> {
    const BackingFile file = TRY(create_file(temporary, mode));
    TRY(file.write(0, content));
    return file.sync(false);
  };
  auto done = write();
  if (done) done = rename(temporary, *this, name, 0);
  if (!done) {
    (void)remove_file(temporary);
    return done;
  }
  return sync();
}

Result<void> BackingDir::sync() const {
  const UniqueFd fd = TRY(reopen(O_RDONLY | O_DIRECTORY));
  while (calls_->fsync(fd.get()) != 0) {
    if (errno == EINVAL) break;  // some filesystems can't sync a directory
    if (errno != EINTR) return errno_error(errno, "syncing the backing directory");
  }
  return {};
}

Result<void> BackingDir::sync_filesystem() const {
  const UniqueFd fd = TRY(reopen(O_RDONLY | O_DIRECTORY));
  if (calls_->syncfs(fd.get()) != 0) return errno_error(errno, "syncing the backing filesystem");
  return {};
}

Result<struct statvfs> BackingDir::filesystem() const {
  struct statvfs status {};
  if (calls_->fstatvfs(fd_.get(), &status) != 0) return errno_error(errno);
  return status;
}

}  // namespace coffer
