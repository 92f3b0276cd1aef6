#include "keystore/cli/line_tail.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "keystore/audit/log_files.h"

namespace coffer {
namespace {

/// No line of ours is as long; a file without newlines must not fill the memory.
constexpr std::size_t kLongestLine = std::size_t{1} << 22U;

bool is_same(const FileStatus& one, const FileStatus& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// Times of one form compare as texts, up to the second. What has none is before nothing.
bool is_before(std::string_view time, std::string_view other) {
  constexpr std::size_t kSeconds = 19;  // "2026-11-22T18:00:00"
  return !time.empty() && time.substr(0, kSeconds) < other.substr(0, kSeconds);
}

/// The files that were begun after the one that `fd` is, and set aside since.
Result<std::deque<std::string>> set_aside_after(const std::string& path, int fd) {
  const FileStatus own = TRY(status_of(fd));
  const std::string began = TRY(first_time(fd));
  std::deque<std::string> later;
  bool known = false;
  for (const LogFile& file : TRY(find_log_files(path))) {
    FileStatus status{};
    if (file.current || ::lstat(file.path.c_str(), &status) != 0) continue;
    if (is_same(status, own)) {
      known = true;
      later.clear();
    } else if (known || (!began.empty() && file.time > began)) {
      later.push_back(file.path);
    }
  }
  return later;
}

}  // namespace

Result<LineTail> LineTail::from_oldest(const std::string& path, std::string_view since) {
  std::vector<LogFile> files = TRY(find_log_files(path));
  if (files.empty()) return Error{Code::kNotFound, ENOENT, path};
  auto first = files.begin();
  while (std::next(first) != files.end() && is_before(std::next(first)->time, since)) ++first;
  LineTail tail(path, TRY(open_log_file(first->path)));
  for (auto file = std::next(first); file < files.end() && !first->current; ++file) {
    if (!file->current) tail.set_aside_.push_back(file->path);
  }
  return tail;
}

Result<LineTail> LineTail::from_end(const std::string& path) {
  LineTail tail(path, TRY(open_log_file(path)));
  tail.offset_ = TRY(status_of(tail.fd_.get())).st_size;
  return tail;
}

Result<void> LineTail::read(const Use& use) {
  TRY(read_on(use));
  while (TRY(go_on(use))) TRY(read_on(use));
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

Result<bool> LineTail::go_on(const Use& use) {
  UniqueFd next = TRY(next_file());
  if (next.valid()) {
    // Whoever begins a file has seen to it that nobody writes to the one before it any more; until
    // then lines may have come after the last look.
    TRY(read_on(use));
    fd_ = std::move(next);
  } else if (TRY(status_of(fd_.get())).st_size >= offset_) {
    return false;
  }
  offset_ = 0;
  unended_.clear();
  return true;
}

Result<UniqueFd> LineTail::next_file() {
  UniqueFd newest;
  if (set_aside_.empty()) {
    FileStatus there{};
    // While one is being replaced there may be none, or one that is empty.
    if (::lstat(path_.c_str(), &there) != 0 || there.st_size == 0) return UniqueFd();
    if (is_same(there, TRY(status_of(fd_.get())))) return UniqueFd();
    auto opened = open_log_file(path_);
    if (!opened && opened.error().code == Code::kNotFound) return UniqueFd();
    newest = TRY(std::move(opened));
    // Asked after it was opened: if it is set aside meanwhile it is among them, or comes next.
    set_aside_ = TRY(set_aside_after(path_, fd_.get()));
  }
  while (!set_aside_.empty()) {
    auto file = open_log_file(set_aside_.front());
    set_aside_.pop_front();
    if (file || file.error().code != Code::kNotFound) return file;
  }
  return newest;
}

}  // namespace coffer
