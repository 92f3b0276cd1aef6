#pragma once

#include <vector>

#include "fs/vfs/vfs.h"
#include "keystore/base/mutex.h"

namespace coffer::testing {

/// In the place of the kernel: of which inodes it is to drop the pages.
class DroppedPages {
 public:
  explicit DroppedPages(Vfs& vfs) : vfs_(vfs) {
    vfs.set_page_cache([this](InodeId inode, Vfs::Kept what) {
      if (what == Vfs::Kept::kAttributes) return;
      MutexLock lock(mutex_);
      inodes_.push_back(inode);
    });
  }
  ~DroppedPages() { vfs_.set_page_cache(nullptr); }
  DroppedPages(const DroppedPages&) = delete;
  DroppedPages& operator=(const DroppedPages&) = delete;

  [[nodiscard]] std::vector<InodeId> inodes() const {
    MutexLock lock(mutex_);
    return inodes_;
  }

 private:
  Vfs& vfs_;
  mutable Mutex mutex_;
  std::vector<InodeId> inodes_ GUARDED_BY(mutex_);
};

}  // namespace coffer::testing
