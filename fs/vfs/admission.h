#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fs/names/scope_names.h"
#include "fs/vfs/group_watch.h"
#include "fs/vfs/types.h"
#include "keystore/access/grant.h"
#include "keystore/base/mutex.h"
#include "keystore/broker/key_broker.h"

namespace coffer {

/// What one open(2) or opendir(3) was let in by, for as long as its handle lives: decided then, and
/// again whenever grants may have changed. Once it is withdrawn it stays so. Thread-safe.
class Admission {
 public:
  struct To {
    ScopeId scope;
    Rights rights;
    InodeId inode;
    InodeId known_as;                   ///< by the kernel: the inode, or a view of it
    std::optional<DekId> key = {};      ///< none of a directory
    std::optional<GrantId> grant = {};  ///< that let it in
    ScopeFlags flags = {};              ///< the scope's, when it was opened
  };
  Admission(std::shared_ptr<const Identity> who, const To& to, GroupWatch::Groups groups)
      : who_(std::move(who)), to_(to), groups_(std::move(groups)) {}

  /// Who he was when he opened it.
  [[nodiscard]] const Identity& who() const { return *who_; }
  /// A control group by which he was known is there no more.
  [[nodiscard]] bool lost_a_group() const;
  /// What is left of it: what such groups said is past.
  [[nodiscard]] Identity who_by_now() const;
  [[nodiscard]] const To& to() const { return to_; }

  /// `reason` is EKEYREVOKED or EKEYEXPIRED.
  void withdraw(int reason) { reason_.store(reason, std::memory_order_release); }
  [[nodiscard]] bool withdrawn() const { return reason_.load(std::memory_order_acquire) != 0; }
  /// kRevoked or kExpired once it is withdrawn.
  [[nodiscard]] Result<void> check() const {
    const int reason = reason_.load(std::memory_order_acquire);
    if (reason == 0) return {};
    return Error{reason == EKEYEXPIRED ? Code::kExpired : Code::kRevoked, reason, "withdrawn"};
  }

  /// What went through the handle, for the line of its close.
  void count_read(std::size_t bytes) { read_.fetch_add(bytes, std::memory_order_relaxed); }
  void count_written(std::size_t bytes) { written_.fetch_add(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes_read() const { return read_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes_written() const {
    return written_.load(std::memory_order_relaxed);
  }
  /// True for who asks first: there is one close.
  bool close() { return !closed_.exchange(true); }

  /// What KeyBroker::changes said before it was last decided about.
  [[nodiscard]] std::uint64_t decided_at() const { return decided_at_.load(); }
  void note_decided(std::uint64_t changes) { decided_at_.store(changes); }

  /// Of an open directory: the names it is listed by, until a lock takes them back. Those who use
  /// and take them are kept apart by the gate.
  void keep_names(std::shared_ptr<const ScopeNames> names) { names_ = std::move(names); }
  [[nodiscard]] const std::shared_ptr<const ScopeNames>& names() const { return names_; }
  void drop_names() { names_.reset(); }

  /// What the kernel had of the file's content when it was withdrawn is dropped.
  void note_dropped() { dropped_.store(true, std::memory_order_release); }
  [[nodiscard]] bool dropped() const { return dropped_.load(std::memory_order_acquire); }

 private:
  const std::shared_ptr<const Identity> who_;
  const To to_;
  const GroupWatch::Groups groups_;
  std::atomic<std::uint64_t> decided_at_{0};
  std::atomic<int> reason_{0};
  std::atomic<bool> dropped_{false};
  std::shared_ptr<const ScopeNames> names_;
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> read_{0};
  std::atomic<std::uint64_t> written_{0};
};

/// All there are. Thread-safe.
class Admissions {
 public:
  /// Known until the last pointer to it goes, which must be before this does.
  std::shared_ptr<Admission> add(std::shared_ptr<const Identity> who, const Admission::To& to,
                                 GroupWatch::Groups groups);
  /// Those that are not withdrawn.
  [[nodiscard]] std::vector<std::shared_ptr<Admission>> standing() const;
  [[nodiscard]] std::vector<std::shared_ptr<Admission>> all() const;
  /// True if one of them is to write to this file.
  [[nodiscard]] bool someone_writes(InodeId inode) const;
  /// True if there is any, withdrawn or not.
  [[nodiscard]] bool someone_has(InodeId inode) const;

 private:
  void drop(Admission* admission);

  mutable Mutex mutex_;
  std::unordered_map<Admission*, std::weak_ptr<Admission>> known_ GUARDED_BY(mutex_);
};

}  // namespace coffer
