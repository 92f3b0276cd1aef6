#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "fs/vfs/inode_table.h"

namespace coffer {

/// Keeps changes of the links of one object apart, as the kernel does by locking its inode: where
/// an object has several there, that is not enough. Thread-safe.
class LinkLocks {
 public:
  using Hold = std::array<std::unique_lock<std::mutex>, 2>;

  /// Waits until nobody changes the links of either; until the hold goes, nobody else does.
  Hold hold(BackingId one, const std::optional<BackingId>& other = std::nullopt) {
    std::size_t first = index(one);
    std::size_t second = other.has_value() ? index(*other) : first;
    if (second < first) std::swap(first, second);
    Hold held;
    held[0] = std::unique_lock(mutexes_[first]);
    if (second != first) held[1] = std::unique_lock(mutexes_[second]);
    return held;
  }

 private:
  static constexpr std::size_t kMutexes = 64;
  static std::size_t index(BackingId id) { return BackingIdHash()(id) >> 32U & (kMutexes - 1); }

  std::array<std::mutex, kMutexes> mutexes_;
};

}  // namespace coffer
