#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "fs/backing/backing_dir.h"
#include "fs/names/scope_names.h"
#include "fs/vfs/types.h"
#include "keystore/base/mutex.h"
#include "keystore/broker/key_broker.h"

namespace coffer {

/// A directory whose record was authenticated. Stays valid while it is renamed. Immutable;
/// thread-safe.
struct Directory {
  std::shared_ptr<const BackingDir> backing;
  DirId id;
  ScopeId scope;
};

/// A directory whose mode denies its owner, with the bits lent that we need who own it. The mode is
/// for the callers, and the kernel has checked it; removing or renaming a directory needs none of
/// it. Given back at the end, wherever the directory then lies. Root is lent nothing.
class LentDirectory {
 public:
  static Result<LentDirectory> lend(const BackingDir& in, const std::string& stored, mode_t mode);
  LentDirectory(LentDirectory&&) noexcept = default;
  LentDirectory(const LentDirectory&) = delete;
  LentDirectory& operator=(const LentDirectory&) = delete;
  LentDirectory& operator=(LentDirectory&&) = delete;
  ~LentDirectory();

  /// Nothing is given back to what is going to be removed.
  void keep() { lent_.reset(); }

 private:
  LentDirectory() = default;
  std::shared_ptr<const BackingDir> lent_;
  mode_t mode_ = 0;
};

/// The directories used last, each holding a descriptor; the least recently used gives way.
/// Thread-safe.
class DirectoryCache {
 public:
  explicit DirectoryCache(std::size_t capacity) : capacity_(capacity) {}

  /// Null if it is not here.
  std::shared_ptr<const Directory> find(InodeId inode);
  void put(InodeId inode, std::shared_ptr<const Directory> directory);
  void drop(InodeId inode);
  void clear();

 private:
  using Order = std::list<std::pair<InodeId, std::shared_ptr<const Directory>>>;

  std::size_t capacity_;
  Mutex mutex_;
  Order newest_first_ GUARDED_BY(mutex_);
  std::unordered_map<InodeId, Order::iterator> where_ GUARDED_BY(mutex_);
};

/// The names of each scope, made from the secret that the broker released. Thread-safe.
class NamesCache {
 public:
  NamesCache(KeyBroker& broker, StoreId store, bool encrypted)
      : broker_(broker), store_(store), encrypted_(encrypted) {}

  /// Asks the broker: decided, and audited as `lines` says.
  Result<std::shared_ptr<const ScopeNames>> release(const AccessRequest& request,
                                                    KeyBroker::Lines lines);
  /// For a lookup, of which only a refusal is audited: of the caller no more is found out than the
  /// decision needs.
  Result<std::shared_ptr<const ScopeNames>> look_up(const Who& who, ScopeId scope, Right right,
                                                    std::string_view path);

  /// What was released to someone before, for finding again a directory that the kernel still
  /// holds; null if there is none.
  std::shared_ptr<const ScopeNames> held(ScopeId scope);
  /// What others hold of it is theirs to drop.
  void clear();

 private:
  struct Made {
    std::shared_ptr<const SecretBytes> secret;
    std::shared_ptr<const ScopeNames> names;
  };

  /// What is made of the secret, kept as long as that stays the same.
  std::shared_ptr<const ScopeNames> made_of(std::shared_ptr<const SecretBytes> secret,
                                            ScopeId scope);

  KeyBroker& broker_;
  StoreId store_;
  bool encrypted_;
  Mutex mutex_;
  std::unordered_map<ScopeId, Made> made_ GUARDED_BY(mutex_);
};

}  // namespace coffer
