#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "fs/identity/file_version.h"
#include "keystore/base/mutex.h"
#include "keystore/crypto/digest.h"

namespace coffer {

/// What executables contain, each version of a file read once. A file larger than `max_size` is not
/// read, for whoever runs it decides what the daemon reads. Thread-safe: no lock is held while a
/// file is read, and only who asks for that very version waits for it.
class ExecutableHashes {
 public:
  static constexpr std::uint64_t kMaxSize = std::uint64_t{256} << 20U;

  explicit ExecutableHashes(std::uint64_t max_size = kMaxSize, std::size_t capacity = 1024)
      : max_size_(max_size), capacity_(capacity) {}

  struct Hashed {
    Digest digest;
    /// The file was left alone for long enough that its next change will show in its version.
    bool lasting = false;
  };
  /// SHA-256 of the file that `fd` holds (O_PATH is enough), which was found as `version`. Nothing
  /// if it is too large, can't be read, or is not that version any more when it has been read.
  std::optional<Hashed> of(int fd, const FileVersion& version);

  /// Of a version that was read before.
  std::optional<Digest> known(const FileVersion& version);

  /// Files read, and versions kept; for tests.
  [[nodiscard]] std::size_t reads();
  [[nodiscard]] std::size_t kept();

 private:
  [[nodiscard]] std::optional<Hashed> read(int fd, const FileVersion& version) const;
  void finish(const FileVersion& version, const std::optional<Hashed>& hashed);

  const std::uint64_t max_size_;
  const std::size_t capacity_;
  Mutex mutex_;
  CondVar finished_;
  std::map<FileVersion, Digest> known_ GUARDED_BY(mutex_);
  std::deque<FileVersion> oldest_first_ GUARDED_BY(mutex_);
  std::set<FileVersion> reading_ GUARDED_BY(mutex_);
  std::size_t reads_ GUARDED_BY(mutex_) = 0;
};

}  // namespace coffer
