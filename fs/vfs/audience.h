#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/vfs/types.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// Callers of whom the same is known: whatever is decided about one of them, now or after a change
/// of grants, is decided about all.
///
/// The kernel keeps the pages of an inode once, and who has it open reads them without asking. That
/// what one caller goes on reading is not there for another from whom the file was withdrawn, each
/// audience knows a file by an inode of its own (fs/SEMANTICS.md).
using Audience = StrongNumber<struct AudienceTag, std::uint64_t>;

/// Of an inode that is the same for all.
inline constexpr Audience kEveryone{0};

/// The audiences there have been. Thread-safe.
class Audiences {
 public:
  /// When there are more, all are forgotten: who comes back is another audience then, and finds
  /// what it knew by new inodes.
  static constexpr std::size_t kMost = 65536;

  /// That of a caller that was let in. Never kEveryone.
  Audience of(const Identity& who);
  /// kEveryone if there has been none of such a caller.
  [[nodiscard]] Audience find(const Identity& who) const;

  // The kernel finds names for all callers at once: an open may come for another audience's inode.
  /// True if the thread asked for the same inode before, was told to look it up again, and has not
  /// looked up anything: no name leads it there, but a descriptor (/proc/self/fd).
  bool insists(pid_t thread, InodeId inode);
  void note_lookup(pid_t thread);

 private:
  using Known = std::pair<std::uint16_t, std::span<const Selector>>;
  struct Less {
    using is_transparent = void;
    bool operator()(const Known& left, const Known& right) const;
  };
  struct Facts {
    Sources known;
    std::vector<Selector> selectors;
    operator Known() const { return {known.bits, selectors}; }  // NOLINT(*-explicit-*): a view
  };

  mutable SharedMutex mutex_;
  std::map<Facts, Audience, Less> audiences_ GUARDED_BY(mutex_);
  std::uint64_t next_ GUARDED_BY(mutex_) = kEveryone.value + 1;

  static constexpr std::size_t kMostSentBack = 1024;
  std::atomic<bool> any_sent_back_{false};
  Mutex sent_back_mutex_;
  std::unordered_map<pid_t, InodeId> sent_back_ GUARDED_BY(sent_back_mutex_);
};

}  // namespace coffer
