#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "fs/backing/backing_file.h"
#include "fs/vfs/inode_table.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// Fifos, sockets and devices that no name leads to any more, as long as the kernel knows them: a
/// program may have one open, of which only the kernel is told, and may ask for its attributes.
/// Each costs a descriptor. Thread-safe.
class RemovedNodes {
 public:
  /// An object of which an entry was removed: kept if it is known to `inodes` and has no other
  /// place there. Where there are too many, it is not.
  void keep(const InodeTable& inodes, InodeId inode, BackingFile node);
  /// Null if it is not here.
  [[nodiscard]] std::shared_ptr<const BackingFile> find(InodeId inode) const;
  /// The kernel has forgotten it.
  void drop(InodeId inode);

 private:
  static constexpr std::size_t kMost = 256;

  std::atomic<std::size_t> count_{0};  // so that who asks for none takes no lock
  mutable Mutex mutex_;
  std::unordered_map<InodeId, std::shared_ptr<const BackingFile>> nodes_ GUARDED_BY(mutex_);
};

}  // namespace coffer
