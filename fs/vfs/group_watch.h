#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/identity/control_groups.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// One control group that somebody was let in by. What it says holds until it is gone; another of
/// its name is another group.
class WatchedGroup {
 public:
  explicit WatchedGroup(const ControlGroup& group);

  [[nodiscard]] const ControlGroup& group() const { return group_; }
  /// What tells it from others of its name.
  [[nodiscard]] ino_t inode() const { return inode_; }
  [[nodiscard]] bool gone() const { return gone_.load(std::memory_order_acquire); }
  /// Looks; true if it is gone. Of one that can't be seen, since its hierarchy is not mounted any
  /// more, nothing is known.
  bool look();

 private:
  const ControlGroup group_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::atomic<bool> gone_{false};
};

/// Looks twice a second whether the control groups by which something was opened are there, as long
/// as there are any. Thread-safe.
class GroupWatch {
 public:
  /// `gone` is called, by a thread of its own, after groups are found to be gone.
  explicit GroupWatch(std::function<void()> gone) : tell_(std::move(gone)) {}
  ~GroupWatch();
  GroupWatch(const GroupWatch&) = delete;
  GroupWatch& operator=(const GroupWatch&) = delete;

  using Groups = std::vector<std::shared_ptr<const WatchedGroup>>;
  /// Those that stand behind an identity's selectors, watched as long as they are held.
  Groups watch(const Identity& identity);

 private:
  static constexpr std::size_t kMostKnown = 64;
  using Key = std::pair<std::string, ino_t>;

  /// What follows from the kernel's words, which many processes share.
  std::vector<ControlGroup> groups_of(const std::string& cgroups);
  void loop();
  [[nodiscard]] std::vector<std::shared_ptr<WatchedGroup>> held() REQUIRES(mutex_);

  const std::function<void()> tell_;
  Mutex mutex_;
  CondVar changed_;
  std::unordered_map<std::string, std::vector<ControlGroup>> known_ GUARDED_BY(mutex_);
  std::map<Key, std::weak_ptr<WatchedGroup>> watched_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_ GUARDED_BY(mutex_);
};

}  // namespace coffer
