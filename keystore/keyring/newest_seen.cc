#include "keystore/keyring/newest_seen.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <thread>

#include "keystore/base/atomic_file.h"
#include "keystore/base/file_lock.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

// keystore/FORMAT.md, "What a node remembers".
constexpr std::string_view kMagic = "coffer-seen-1 ";
constexpr std::size_t kNumberAt = 47;  // behind the store id and a space
constexpr std::size_t kNumberLength = 20;
constexpr std::size_t kMarkAt = 68;
constexpr std::size_t kCheckAt = 133;
constexpr std::size_t kCheckLength = 16;
constexpr std::size_t kLineLength = 150;

constexpr auto kLockWait = std::chrono::seconds(1);
constexpr auto kReadRetry = std::chrono::milliseconds(2);
constexpr int kReadAttempts = 3;

std::string check_of(std::string_view line) {
  return to_hex(sha256(as_bytes(line.substr(0, kCheckAt - 1)))).substr(0, kCheckLength);
}

std::string line_of(const KeystoreState& state, StoreId store) {
  char number[kNumberLength + 1];
  std::snprintf(number, sizeof number, "%020llu",
                static_cast<unsigned long long>(state.generation));
  std::string line(kMagic);
  line.append(store.hex()).append(" ").append(number).append(" ").append(to_hex(state.mark));
  line.append(" ");
  return line + check_of(line) + "\n";
}

Result<KeystoreState> parse_line(std::string_view line, StoreId store) {
  KeystoreState state;
  const Error damaged{Code::kCorrupt, 0, "it is damaged"};
  if (line.size() != kLineLength || !line.starts_with(kMagic) ||
      line.substr(kCheckAt, kCheckLength) != check_of(line)) {
    return damaged;
  }
  if (line.substr(kMagic.size(), 32) != store.hex()) {
    return Error{Code::kCorrupt, 0, "it is another store's"};
  }
  const char* const number = line.data() + kNumberAt;
  const auto parsed = std::from_chars(number, number + kNumberLength, state.generation);
  if (parsed.ec != std::errc{} || parsed.ptr != number + kNumberLength) return damaged;
  const ByteVector mark = TRY(from_hex(line.substr(kMarkAt, 2 * sizeof(Digest))));
  std::copy(mark.begin(), mark.end(), state.mark.begin());
  return state;
}

Result<UniqueFd> open_regular(const std::string& path, int flags) {
  // O_NONBLOCK: a FIFO put there must not hang the mount.
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd.valid()) return errno_error(errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno);
  if (!S_ISREG(status.st_mode)) return Error{Code::kInvalid, 0, "it is no regular file"};
  return fd;
}

Result<FileLock> lock_whole(int fd) {
  auto lock = FileLock::take(fd, std::chrono::steady_clock::now() + kLockWait);
  if (lock || lock.error().errno_value != EBUSY) return lock;
  return Error{Code::kBusy, 0, "another process holds its lock"};
}

Result<KeystoreState> read_line(int fd, StoreId store) {
  std::array<char, kLineLength + 1> line{};
  const ssize_t length = ::pread(fd, line.data(), line.size(), 0);
  if (length < 0) return errno_error(errno);
  return parse_line({line.data(), static_cast<std::size_t>(length)}, store);
}

}  // namespace

NewestSeen::NewestSeen(Place place, StoreId store) : place_(std::move(place)), store_(store) {}

std::optional<KeystoreState> NewestSeen::newest() {
  const auto remembered = read_file();
  MutexLock lock(mutex_);
  if (remembered.has_value() &&
      (!newest_.has_value() || remembered->generation > newest_->generation)) {
    newest_ = remembered;
  }
  return newest_;
}

Result<void> NewestSeen::compare(const KeystoreState& found,
                                 const std::optional<KeystoreState>& newest) {
  if (!newest.has_value() || found == *newest || found.generation > newest->generation) return {};
  const std::string seen = std::to_string(newest->generation);
  const std::string what =
      found.generation < newest->generation
          ? "keystore was put back to an earlier state: it is of generation " +
                std::to_string(found.generation) + ", this node has seen " + seen
          : "keystore is another one of generation " + seen +
                " than this node has seen: a copy that went its own way was put in its place";
  return Error{Code::kRolledBack, 0,
               what +
                   "; put back the newer keystore, or, if this one was restored on purpose: "
                   "coffer accept STORE"};
}

void NewestSeen::raise(const KeystoreState& state) {
  {
    MutexLock lock(mutex_);
    if (newest_.has_value() && state.generation <= newest_->generation) return;
    newest_ = state;
  }
  if (place_.path.empty()) return;
  if (auto written = write_file(state); !written) tell(written.error());
}

std::optional<KeystoreState> NewestSeen::read_file() {
  if (place_.path.empty()) return std::nullopt;
  const auto fd = open_regular(place_.path, O_RDONLY);
  if (!fd) {
    if (fd.error().errno_value != ENOENT) tell(fd.error());
    return std::nullopt;
  }
  // Read without the lock, which a stopped process may hold; what was caught in the midst of a
  // write is whole a moment later.
  auto state = read_line(fd->get(), store_);
  for (int again = 1; !state && again < kReadAttempts; ++again) {
    std::this_thread::sleep_for(kReadRetry);
    state = read_line(fd->get(), store_);
  }
  if (state) return *state;
  tell(state.error());
  return std::nullopt;
}

Result<void> NewestSeen::write_file(const KeystoreState& state) {
  TRY(make_directories(place_.path.substr(0, place_.path.find_last_of('/')), 0700));
  const UniqueFd fd = TRY(open_regular(place_.path, O_RDWR | O_CREAT));
  const FileLock lock = TRY(lock_whole(fd.get()));
  const auto known = read_line(fd.get(), store_);
  if (known && known->generation >= state.generation) return {};
  // One write within one page and one sector: neither a kill nor a power loss leaves half of it.
  const std::string line = line_of(state, store_);
  const ssize_t written = ::pwrite(fd.get(), line.data(), line.size(), 0);
  if (written < 0) return errno_error(errno);
  if (static_cast<std::size_t>(written) != line.size()) return errno_error(ENOSPC);
  if (::ftruncate(fd.get(), static_cast<off_t>(line.size())) != 0) return errno_error(errno);
  return {};
}

void NewestSeen::tell(const Error& error) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(told_, true)) return;
  }
  if (place_.report == nullptr) return;
  Error told = error;
  told.context = "what this node remembers of the keystore (" + place_.path +
                 "): " + error.message() +
                 "; until that is mended, a keystore put back to an earlier state may go unnoticed";
  told.errno_value = 0;
  place_.report(told);
}

}  // namespace coffer
