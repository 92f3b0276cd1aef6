#include "fs/identity/proc_files.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>

namespace coffer {
namespace {

/// A process may have 65 536 groups of ten digits; whoever has more text than this is not known.
constexpr std::size_t kMaxRecord = std::size_t{1} << 20U;
constexpr std::size_t kMaxRecords = std::size_t{1} << 24U;

ssize_t read_at(int fd, char* into, std::size_t length, std::size_t offset) {
  while (true) {
    const ssize_t done = ::pread(fd, into, length, static_cast<off_t>(offset));
    if (done >= 0 || errno != EINTR) return done;
  }
}

}  // namespace

std::optional<std::string_view> read_record(int fd, std::string& buffer) {
  if (buffer.size() < 4096) buffer.resize(4096);
  while (true) {
    // A read that ends before the buffer does has all of it.
    const ssize_t length = read_at(fd, buffer.data(), buffer.size(), 0);
    if (length < 0) return std::nullopt;
    if (static_cast<std::size_t>(length) < buffer.size())
      return std::string_view(buffer).substr(0, static_cast<std::size_t>(length));
    if (buffer.size() >= kMaxRecord) {
      errno = EFBIG;
      return std::nullopt;
    }
    buffer.resize(buffer.size() * 2);
  }
}

std::optional<std::string> read_records(int fd) {
  std::string text;
  while (text.size() < kMaxRecords) {
    const std::size_t before = text.size();
    text.resize(before + (std::size_t{1} << 16U));
    const ssize_t length = read_at(fd, text.data() + before, text.size() - before, before);
    if (length < 0) return std::nullopt;
    text.resize(before + static_cast<std::size_t>(length));
    if (length == 0) return text;
  }
  errno = EFBIG;
  return std::nullopt;
}

std::optional<std::string> read_link(int dir, const char* name) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlinkat(dir, name, target.data(), target.size());
  if (length <= 0) return std::nullopt;
  if (static_cast<std::size_t>(length) >= target.size()) {
    errno = ENAMETOOLONG;
    return std::nullopt;
  }
  return std::string(target.data(), static_cast<std::size_t>(length));
}

}  // namespace coffer
