#include "keystore/cli/line_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace coffer {
namespace {

/// No line of ours is as long; a file without newlines must not fill the memory.
constexpr std::size_t kLongestLine = std::size_t{1} << 22U;

Result<UniqueFd> open_for_reading(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return errno_error(errno, path);
  return fd;
}

}  // namespace

Result<LineTail> LineTail::open(const std::string& path, From from) {
  UniqueFd fd = TRY(open_for_reading(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, path);
  if (!S_ISREG(status.st_mode)) return Error{Code::kInvalid, 0, path + " is no regular file"};
  return LineTail(path, std::move(fd), from == From::kEnd ? status.st_size : 0);
}

Result<void> LineTail::read(const Use& use) {
  TRY(read_on(use));
  while (TRY(follow())) TRY(read_on(use));
  return {};
}

Result<void> LineTail::read_on(const Use& use) {
  std::array<char, 65536> part{};
  while (true) {
    const ssize_t length = ::pread(fd_.get(), part.data(), part.size(), offset_);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno_error(errno, path_);
    if (length == 0) return {};
    offset_ += length;
    std::string_view rest(part.data(), static_cast<std::size_t>(length));
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      unended_.append(rest.substr(0, end));
      use(unended_);
      unended_.clear();
      rest.remove_prefix(end + 1);
    }
    if (unended_.size() <= kLongestLine) unended_.append(rest);
  }
}

Result<bool> LineTail::follow() {
  struct stat own {};
  struct stat there {};
  if (::fstat(fd_.get(), &own) != 0) return errno_error(errno, path_);
  // While one is being replaced there may be none.
  if (::stat(path_.c_str(), &there) != 0) return false;
  const bool replaced = own.st_dev != there.st_dev || own.st_ino != there.st_ino;
  if (!replaced && there.st_size >= offset_) return false;
  if (replaced) fd_ = TRY(open_for_reading(path_));
  offset_ = 0;
  unended_.clear();
  return true;
}

}  // namespace coffer
