#include "fs/vfs/xattr_cache.h"

#include <iterator>

namespace coffer {

std::shared_ptr<const KnownXattrs> XattrCache::find(InodeId inode) {
  MutexLock lock(mutex_);
  const auto found = where_.find(inode);
  if (found == where_.end()) return nullptr;
  newest_first_.splice(newest_first_.begin(), newest_first_, found->second);
  return found->second->known;
}

std::uint64_t XattrCache::before_reading() const {
  MutexLock lock(mutex_);
  return changes_;
}

void XattrCache::put(InodeId inode, std::shared_ptr<const KnownXattrs> known,
                     std::uint64_t before_reading) {
  std::size_t bytes = 0;
  for (const auto& [name, value] : known->set) bytes += name.size() + value.size();
  MutexLock lock(mutex_);
  if (changes_ != before_reading) return;
  if (const auto found = where_.find(inode); found != where_.end()) erase(found->second);
  newest_first_.push_front({.inode = inode, .known = std::move(known), .bytes = bytes});
  where_[inode] = newest_first_.begin();
  bytes_ += bytes;
  while (newest_first_.size() > kMostObjects || bytes_ > kMostBytes) {
    erase(std::prev(newest_first_.end()));
  }
}

void XattrCache::drop(InodeId inode) {
  MutexLock lock(mutex_);
  ++changes_;
  if (const auto found = where_.find(inode); found != where_.end()) erase(found->second);
}

void XattrCache::clear() {
  MutexLock lock(mutex_);
  ++changes_;
  where_.clear();
  newest_first_.clear();
  bytes_ = 0;
}

void XattrCache::erase(Order::iterator item) {
  bytes_ -= item->bytes;
  where_.erase(item->inode);
  newest_first_.erase(item);
}

}  // namespace coffer
