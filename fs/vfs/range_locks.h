#pragma once

#include <sys/types.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "keystore/base/ids.h"

namespace coffer {

/// Whom a lock belongs to, as the kernel calls him: a process's descriptors (fcntl), or one open
/// file description (OFD, flock).
using LockOwner = StrongNumber<struct LockOwnerTag, std::uint64_t>;
/// The handle of an open file, as the kernel calls it.
using LockHandle = StrongNumber<struct LockHandleTag, std::uint64_t>;

enum class LockType { kShared, kExclusive };

/// Bytes of a file, both ends included.
struct LockRange {
  /// The last byte that any file can have; a lock up to here is up to the end, wherever that is.
  static constexpr std::uint64_t kLast = std::numeric_limits<std::int64_t>::max();

  std::uint64_t first = 0;
  std::uint64_t last = kLast;
  bool operator==(const LockRange&) const = default;
};

struct RangeLock {
  LockOwner owner;
  LockType type = LockType::kShared;
  LockRange range = {};
  LockHandle by = {};  ///< what it was taken through
  pid_t pid = 0;       ///< who took it; 0: unknown
};

/// The locks that are held on one file, by the rules of fcntl(2): what an owner sets replaces what
/// he had there, and no byte is locked by two owners unless both share it. Not thread-safe.
class RangeLocks {
 public:
  /// The first lock in the way: of those who have locked for longest, the lowest. Nothing if `lock`
  /// can be set.
  [[nodiscard]] std::optional<RangeLock> conflict(const RangeLock& lock) const;
  /// Every owner who is in the way, added to `owners` where he is not among them yet.
  void add_conflicting(const RangeLock& lock, std::vector<LockOwner>& owners) const;

  /// There must be no conflict.
  void set(const RangeLock& lock);
  void clear(LockOwner owner, const LockRange& range);
  /// What was taken through a handle.
  void drop(LockHandle handle);

  [[nodiscard]] bool empty() const { return owners_.empty(); }
  /// How many ranges are kept.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// True if clearing it takes one range more to say what is left.
  [[nodiscard]] bool splits(LockOwner owner, const LockRange& range) const;

 private:
  struct Held {
    std::uint64_t last;
    LockType type;
    LockHandle by;
    pid_t pid;
  };
  using Ranges = std::map<std::uint64_t, Held>;  // by first byte; none overlap
  struct Owned {
    LockOwner owner;
    Ranges ranges;
  };

  [[nodiscard]] static Ranges::const_iterator first_in(const Ranges& ranges, std::uint64_t first);
  [[nodiscard]] static std::optional<RangeLock> conflict(const Owned& owned, const RangeLock& lock);
  void cut(Ranges& ranges, const LockRange& range);
  static Ranges::iterator join(Ranges& ranges, Ranges::iterator left, Ranges::iterator right);

  std::vector<Owned> owners_;  // in the order in which they came
  std::size_t size_ = 0;
};

}  // namespace coffer
