#include "fs/vfs/audience.h"

#include <algorithm>

namespace coffer {

bool Audiences::Less::operator()(const Known& left, const Known& right) const {
  if (left.first != right.first) return left.first < right.first;
  return std::lexicographical_compare(left.second.begin(), left.second.end(), right.second.begin(),
                                      right.second.end());
}

Audience Audiences::find(const Identity& who) const {
  ReadLock lock(mutex_);
  const auto found = audiences_.find(Known(who.known.bits, who.selectors));
  return found == audiences_.end() ? kEveryone : found->second;
}

Audience Audiences::of(const Identity& who) {
  if (const Audience known = find(who); known != kEveryone) return known;
  WriteLock lock(mutex_);
  if (audiences_.size() >= kMost) audiences_.clear();
  const auto [made, is_new] = audiences_.emplace(Facts{who.known, who.selectors}, Audience{next_});
  if (is_new) ++next_;
  return made->second;
}

bool Audiences::insists(pid_t thread, InodeId inode) {
  MutexLock lock(sent_back_mutex_);
  const auto before = sent_back_.find(thread);
  if (before != sent_back_.end() && before->second == inode) {
    sent_back_.erase(before);
    return true;
  }
  if (sent_back_.size() >= kMostSentBack) sent_back_.clear();
  sent_back_[thread] = inode;
  any_sent_back_.store(true, std::memory_order_relaxed);
  return false;
}

void Audiences::note_lookup(pid_t thread) {
  if (!any_sent_back_.load(std::memory_order_relaxed)) return;
  MutexLock lock(sent_back_mutex_);
  sent_back_.erase(thread);
  any_sent_back_.store(!sent_back_.empty(), std::memory_order_relaxed);
}

}  // namespace coffer
