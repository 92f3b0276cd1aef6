#include "fs/vfs/group_watch.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "fs/identity/proc_files.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// A handle is to be of no use two seconds after its group is gone, at the latest.
constexpr auto kInterval = std::chrono::milliseconds(500);

}  // namespace

WatchedGroup::WatchedGroup(const ControlGroup& group) : group_(group) {
  struct stat status {};
  if (::stat(group_.place.c_str(), &status) == 0) device_ = status.st_dev;
  if (::stat(group_.directory.c_str(), &status) == 0) {
    inode_ = status.st_ino;
    if (status.st_dev != device_) device_ = 0;  // not the hierarchy that it seemed
  }
  (void)look();
}

bool WatchedGroup::look() {
  if (gone()) return true;
  struct stat status {};
  const bool there = ::stat(group_.directory.c_str(), &status) == 0;
  if (!there && errno != ENOENT) return false;
  if (there && status.st_dev == device_ && status.st_ino == inode_) return false;
  const bool seen = ::stat(group_.place.c_str(), &status) == 0 && status.st_dev == device_;
  if (seen) gone_.store(true, std::memory_order_release);
  return seen;
}

GroupWatch::~GroupWatch() {
  std::thread thread;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
  }
  changed_.notify_all();
  if (thread.joinable()) thread.join();
}

GroupWatch::Groups GroupWatch::watch(const Identity& identity) {
  Groups groups;
  if (identity.cgroups == nullptr) return groups;
  for (const ControlGroup& group : groups_of(*identity.cgroups)) {
    auto watched = std::make_shared<WatchedGroup>(group);
    MutexLock lock(mutex_);
    auto& known = watched_[Key{group.directory, watched->inode()}];
    if (auto same = known.lock(); same != nullptr && !watched->gone()) watched = std::move(same);
    if (known.expired()) changed_.notify_all();
    known = watched;
    groups.push_back(std::move(watched));
    if (!thread_.joinable() && !stopping_) thread_ = std::thread([this] { loop(); });
  }
  return groups;
}

std::vector<ControlGroup> GroupWatch::groups_of(const std::string& cgroups) {
  {
    MutexLock lock(mutex_);
    if (const auto known = known_.find(cgroups); known != known_.end()) return known->second;
  }
  const UniqueFd mounts(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  const auto text = read_records(mounts.get());
  auto groups = groups_behind(cgroups, parse_cgroup_mounts(text.value_or("")));
  MutexLock lock(mutex_);
  if (known_.size() >= kMostKnown) known_.clear();
  known_[cgroups] = groups;
  return groups;
}

std::vector<std::shared_ptr<WatchedGroup>> GroupWatch::held() {
  std::vector<std::shared_ptr<WatchedGroup>> held;
  for (auto each = watched_.begin(); each != watched_.end();) {
    auto group = each->second.lock();
    const bool done = group == nullptr || group->gone();
    each = done ? watched_.erase(each) : std::next(each);
    if (!done) held.push_back(std::move(group));
  }
  return held;
}

void GroupWatch::loop() {
  while (true) {
    std::vector<std::shared_ptr<WatchedGroup>> groups;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && (groups = held()).empty()) changed_.wait(mutex_);
      if (!stopping_) changed_.wait_for(mutex_, kInterval);
      if (stopping_) return;
    }
    bool any_gone = false;
    for (const auto& group : groups) any_gone |= group->look();
    if (any_gone) tell_();
  }
}

}  // namespace coffer
