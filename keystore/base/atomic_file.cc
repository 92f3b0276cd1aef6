#include "keystore/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> write_synced(int fd, Bytes content, const std::string& path) {
  if (auto written = write_all(fd, content); !written) {
    return errno_error(written.error().errno_value, "writing " + path);
  }
  if (::fsync(fd) != 0) return errno_error(errno, "syncing " + path);
  return {};
}

}  // namespace

Result<void> write_all(int fd, Bytes content) {
  while (!content.empty()) {
    const ssize_t done = ::write(fd, content.data(), content.size());
    if (done < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno);
    }
    content = content.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

Result<std::size_t> read_up_to(int fd, MutableBytes buffer) {
  std::size_t total = 0;
  while (total < buffer.size()) {
    const ssize_t done = ::read(fd, buffer.data() + total, buffer.size() - total);
    if (done < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno);
    }
    if (done == 0) break;
    total += static_cast<std::size_t>(done);
  }
  return total;
}

Result<void> sync_parent(const std::string& path) {
  const std::string parent = parent_of(path);
  const UniqueFd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "opening " + parent);
  // Some filesystems can't sync a directory and say so by EINVAL.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return errno_error(errno, "syncing " + parent);
  return {};
}

Result<void> create_file(const std::string& path, Bytes content, mode_t mode) {
  Result<void> done;
  {
    const UniqueFd fd(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return errno_error(errno, "creating " + path);
    done = write_synced(fd.get(), content, path);
  }
  if (done) done = sync_parent(path);
  if (!done) ::unlink(path.c_str());
  return done;
}

Result<void> replace_file(const std::string& path, Bytes content, mode_t mode) {
  const std::string temporary = path + ".new";
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) {
    return errno_error(errno, "removing " + temporary);
  }
  TRY(create_file(temporary, content, mode));
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    return errno_error(reason, "renaming to " + path);
  }
  return sync_parent(path);
}

Result<ByteVector> read_small_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return errno_error(errno, "opening " + path);
  ByteVector content(limit + 1);
  auto length = read_up_to(fd.get(), content);
  if (!length) return errno_error(length.error().errno_value, "reading " + path);
  if (*length > limit) return Error{Code::kInvalid, 0, path + " is longer than it can be"};
  content.resize(*length);
  return content;
}

Result<void> make_directories(const std::string& path, mode_t mode) {
  std::size_t end = 0;
  while (end != std::string::npos) {
    end = path.find('/', end + 1);
    const std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), mode) == 0) {
      TRY(sync_parent(prefix));
    } else if (errno != EEXIST) {
      // A parent that can't be written may well exist already.
      struct stat status {};
      const int reason = errno;
      if (::stat(prefix.c_str(), &status) != 0) return errno_error(reason, "making " + prefix);
    }
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, path);
  if (!S_ISDIR(status.st_mode)) return errno_error(ENOTDIR, path);
  return {};
}

}  // namespace coffer
