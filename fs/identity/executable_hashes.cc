#include "fs/identity/executable_hashes.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// Clocks of filesystems tick every few milliseconds: two changes within a tick look like one.
constexpr std::int64_t kTickNs = 100'000'000;
constexpr std::size_t kPiece = std::size_t{1} << 18U;

bool is_settled(const FileVersion& version) {
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t now_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return now_ns - version.changed_ns > kTickNs;
}

std::optional<Digest> hash_of(int fd, std::uint64_t size) {
  Sha256Stream stream;
  ByteVector piece(kPiece);
  std::uint64_t offset = 0;
  // Not beyond its size: who lets it grow meanwhile keeps nobody busy.
  while (offset < size) {
    const ssize_t length = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return std::nullopt;
    stream.add(Bytes(piece).first(static_cast<std::size_t>(length)));
    offset += static_cast<std::uint64_t>(length);
  }
  return stream.finish();
}

}  // namespace

std::optional<ExecutableHashes::Hashed> ExecutableHashes::read(int fd,
                                                               const FileVersion& version) const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!file.valid()) return std::nullopt;
  const bool settled = is_settled(version);
  const auto is_same = [&] {
    const auto found = find_file(file.get(), "");
    return found.has_value() && found->version == version;
  };
  if (!is_same()) return std::nullopt;
  const auto digest = hash_of(file.get(), version.size);
  if (!digest.has_value() || !is_same()) return std::nullopt;
  return Hashed{.digest = *digest, .lasting = settled};
}

void ExecutableHashes::finish(const FileVersion& version, const std::optional<Hashed>& hashed) {
  MutexLock lock(mutex_);
  reading_.erase(version);
  if (hashed.has_value() && hashed->lasting && known_.emplace(version, hashed->digest).second) {
    oldest_first_.push_back(version);
    if (oldest_first_.size() > capacity_) {
      known_.erase(oldest_first_.front());
      oldest_first_.pop_front();
    }
  }
  finished_.notify_all();
}

std::optional<ExecutableHashes::Hashed> ExecutableHashes::of(int fd, const FileVersion& version) {
  if (version.size > max_size_) return std::nullopt;
  {
    MutexLock lock(mutex_);
    while (true) {
      const auto known = known_.find(version);
      if (known != known_.end()) return Hashed{.digest = known->second, .lasting = true};
      if (reading_.insert(version).second) break;
      finished_.wait(mutex_);
    }
    ++reads_;
  }
  std::optional<Hashed> hashed;
  try {
    hashed = read(fd, version);
  } catch (...) {
    finish(version, std::nullopt);  // those who wait try for themselves
    throw;
  }
  finish(version, hashed);
  return hashed;
}

std::optional<Digest> ExecutableHashes::known(const FileVersion& version) {
  MutexLock lock(mutex_);
  const auto found = known_.find(version);
  if (found == known_.end()) return std::nullopt;
  return found->second;
}

std::size_t ExecutableHashes::reads() {
  MutexLock lock(mutex_);
  return reads_;
}

std::size_t ExecutableHashes::kept() {
  MutexLock lock(mutex_);
  return known_.size();
}

}  // namespace coffer
