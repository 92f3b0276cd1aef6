#include "fs/vfs/removed_nodes.h"

namespace coffer {

void RemovedNodes::keep(const InodeTable& inodes, InodeId inode, BackingFile node) {
  {
    MutexLock lock(mutex_);
    if (nodes_.size() >= kMost) return;
    nodes_[inode] = std::make_shared<const BackingFile>(std::move(node));
    count_ = nodes_.size();
  }
  // The kernel may have forgotten it meanwhile, and says so but once.
  const auto known = inodes.find(inode);
  if (!known.has_value() || known->place.has_value()) drop(inode);
}

std::shared_ptr<const BackingFile> RemovedNodes::find(InodeId inode) const {
  if (count_ == 0) return nullptr;
  MutexLock lock(mutex_);
  const auto found = nodes_.find(inode);
  return found == nodes_.end() ? nullptr : found->second;
}

void RemovedNodes::drop(InodeId inode) {
  if (count_ == 0) return;
  MutexLock lock(mutex_);
  nodes_.erase(inode);
  count_ = nodes_.size();
}

}  // namespace coffer
