#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "fs/format/xattr_set.h"
#include "fs/vfs/types.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// All extended attributes of an object, authenticated; and the scope that decides who is told.
struct KnownXattrs {
  ScopeId scope;
  XattrSet set;
};

/// The extended attributes asked for last, and of which objects there are none; the least recently
/// used give way. Thread-safe.
class XattrCache {
 public:
  /// Null if it is not here.
  std::shared_ptr<const KnownXattrs> find(InodeId inode);

  /// The attributes are read from the backing without a lock. What `before_reading` said then is
  /// given to `put`, which keeps nothing that was read before a change.
  [[nodiscard]] std::uint64_t before_reading() const;
  void put(InodeId inode, std::shared_ptr<const KnownXattrs> known, std::uint64_t before_reading);
  /// They are going to change, or have.
  void drop(InodeId inode);
  void clear();

 private:
  static constexpr std::size_t kMostObjects = std::size_t{1} << 17U;
  static constexpr std::size_t kMostBytes = std::size_t{16} << 20U;

  struct Item {
    InodeId inode;
    std::shared_ptr<const KnownXattrs> known;
    std::size_t bytes = 0;
  };
  using Order = std::list<Item>;

  void erase(Order::iterator item) REQUIRES(mutex_);

  mutable Mutex mutex_;
  Order newest_first_ GUARDED_BY(mutex_);
  std::unordered_map<InodeId, Order::iterator> where_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace coffer
