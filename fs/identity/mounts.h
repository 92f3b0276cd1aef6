#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// What is mounted, as far as reading from it matters.
enum class MountKind : std::uint8_t {
  kNone,   ///< no such mount
  kFuse,   ///< answered by some process: by this one, perhaps
  kOther,  ///< the kernel's own
};

/// The mounts of /proc/TID/mountinfo (proc(5)) by their ids, sorted. A line that can't be
/// understood is left out. Pure.
std::vector<std::pair<std::uint64_t, MountKind>> parse_mounts(std::string_view mountinfo);
MountKind kind_in(const std::vector<std::pair<std::uint64_t, MountKind>>& mounts, std::uint64_t id);

/// The mounts that this process sees. Read again when the kernel says that they changed.
/// Thread-safe.
class OwnMounts {
 public:
  OwnMounts();
  /// Of a mount that is kept from going, by a file that is open on it.
  MountKind kind_of(std::uint64_t id);

 private:
  Mutex mutex_;
  UniqueFd file_ GUARDED_BY(mutex_);
  bool read_ GUARDED_BY(mutex_) = false;
  std::vector<std::pair<std::uint64_t, MountKind>> mounts_ GUARDED_BY(mutex_);
};

}  // namespace coffer
