#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include "fs/vfs/range_locks.h"
#include "keystore/base/mutex.h"
#include "keystore/base/result.h"

namespace coffer {

/// The locks that programs hold on the files of a mount (fcntl, OFD, flock), and those who wait for
/// one. A file is known by its id, whatever inodes and names the kernel has for it. Thread-safe.
///
/// Nobody's thread waits: a waiter is answered by whoever makes room for him, has him interrupted,
/// or ends his leave. No lock is held while he is.
class FileLocks {
 public:
  /// Ranges that are kept at most, of all files; more are refused with ENOLCK.
  static constexpr std::size_t kMost = std::size_t{1} << 18U;

  /// Locks of different kinds don't meet.
  enum class Kind {
    kRange,  ///< fcntl's, of a process or an open file description
    kWhole,  ///< flock's, of the whole file
  };
  struct Claim {
    FileId file;
    Kind kind = Kind::kRange;
    RangeLock lock;
  };
  /// What a claim that has to wait is answered by, once.
  struct Waiting {
    /// An error if he is to have no lock any more: asked before he gets it, under the table's
    /// mutex.
    std::function<Result<void>()> may;
    std::function<void(const Result<void>&)> answer;
  };
  /// Of one who waits; never used again.
  using Ticket = StrongNumber<struct TicketTag, std::uint64_t>;

  FileLocks() = default;
  FileLocks(const FileLocks&) = delete;
  FileLocks& operator=(const FileLocks&) = delete;

  /// EAGAIN (kBusy) if others hold what is in the way. As flock(2) says, what the owner held of
  /// kind kWhole is gone then.
  Result<void> take(const Claim& claim);
  /// A ticket if it has to wait: `waiting.answer` will be called, but not before `begin_waiting`.
  /// EDEADLK (kBusy) if those in the way wait for the owner, of kind kRange.
  Result<std::optional<Ticket>> take_or_wait(const Claim& claim, Waiting waiting);
  void begin_waiting(Ticket ticket);
  /// EINTR for him, if he waits still.
  void interrupt(Ticket ticket);

  /// The first lock in the way of a claim.
  std::optional<RangeLock> conflict(const Claim& claim);

  /// ENOLCK (kBusy) if more ranges than kMost would be left.
  Result<void> release(FileId file, Kind kind, LockOwner owner, const LockRange& range);
  /// A process closes a descriptor of the file: all its ranges go.
  void drop(FileId file, LockOwner owner);
  /// A handle is at its end: whatever was taken through it and is there still goes.
  void drop(LockHandle handle);

  /// Answers those who are to have no lock any more.
  void reconsider();
  /// Answers all who wait with ENOTCONN, and so all who come later and would have to. Returns when
  /// no answer is under way.
  void end();

  /// False only if no lock was ever asked for on the file, or others were on more than kMostKept
  /// files since.
  bool may_have_locks(FileId file);

 private:
  static constexpr std::size_t kMostKept = 1024;
  /// Owners who are looked at, as to who waits for whom: beyond that a deadlock is not found.
  static constexpr std::size_t kMostLookedAt = 100;

  struct Waiter {
    Claim claim;
    Waiting waiting;
    bool begun = false;
    std::optional<Result<void>> outcome = std::nullopt;
  };
  using Waiters = std::map<Ticket, Waiter>;  // in the order in which they came
  struct File {
    std::array<RangeLocks, 2> locks;
    Waiters waiters;
    RangeLocks& of(Kind kind) { return locks[static_cast<std::size_t>(kind)]; }
    const RangeLocks& of(Kind kind) const { return locks[static_cast<std::size_t>(kind)]; }
  };
  using Files = std::unordered_map<FileId, File>;

  /// 0, EAGAIN or ENOLCK.
  int try_to_take(const Claim& claim) REQUIRES(mutex_);
  Result<void> give(const Claim& claim) REQUIRES(mutex_);
  [[nodiscard]] bool would_deadlock(const Claim& claim) const REQUIRES(mutex_);
  /// Has `change` take locks from a file that is known; then those who wait for them get theirs.
  template <typename Change>
  void give_back(FileId file, const Change& change);
  /// Gives those who wait what they can have by now, and forgets the file if that is all.
  void settle(Files::iterator file, Waiters& done) REQUIRES(mutex_);
  /// Leaves it to `answer`, or to `begin_waiting` where that is still to come.
  void finish(Waiter& waiter, Ticket ticket, Result<void> outcome, Waiters& done) REQUIRES(mutex_);
  void answer(Waiters done) EXCLUDES(mutex_);

  Mutex mutex_;
  CondVar answered_;
  Files files_ GUARDED_BY(mutex_);
  std::unordered_map<Ticket, Waiter*> waiting_ GUARDED_BY(mutex_);
  /// Every handle that a lock was asked for through, until its end.
  std::unordered_map<LockHandle, FileId> handles_ GUARDED_BY(mutex_);
  std::size_t held_ GUARDED_BY(mutex_) = 0;
  std::uint64_t next_ticket_ GUARDED_BY(mutex_) = 1;
  std::size_t answering_ GUARDED_BY(mutex_) = 0;
  bool ended_ GUARDED_BY(mutex_) = false;
  // So that files without locks cost next to nothing:
  std::atomic<bool> any_file_{false};
  std::atomic<std::size_t> handle_count_{0};
  std::atomic<std::size_t> waiting_count_{0};
};

}  // namespace coffer
