#pragma once

#include <thread>
#include <unordered_map>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// DEKs made and committed ahead of need, so that creating a file waits for no disk. A batch
/// doubles each time a scope's pool has run low, up to 1024 keys, and is made by a thread of the
/// pool's own once a quarter is left. Thread-safe.
class DekPool {
 public:
  explicit DekPool(Keyring& keyring);
  /// Gives back to the keystore what was made and not taken.
  ~DekPool();
  DekPool(const DekPool&) = delete;
  DekPool& operator=(const DekPool&) = delete;

  /// A key nobody else gets; waits for a batch only if the pool is empty. Errors are those of
  /// Keyring::make_deks, and all who waited for one batch share its error.
  Result<Dek> take(ScopeId scope);
  /// Takes back a key that nothing was encrypted with.
  void put_back(Dek dek);

  /// Drops all keys; until `open` none is made, kept or given out (kKeyUnavailable). The keystore
  /// gets them back by the pool's own thread.
  void close();
  void open();

 private:
  struct Shelf {
    std::vector<Dek> keys;
    std::size_t batch = 16;
    bool refilling = false;
    std::uint64_t failures = 0;
    Error last_failure;
  };

  void refill_loop();
  /// Of keys that are not kept.
  void discard(std::vector<Dek> keys) REQUIRES(mutex_);
  /// Makes a batch for a shelf that is marked as refilling; what comes of it stands on the shelf.
  void refill(ScopeId scope);

  Keyring& keyring_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::vector<FileId> unused_ GUARDED_BY(mutex_);  // to be given back to the keystore
  std::vector<ScopeId> wanted_ GUARDED_BY(mutex_);
  std::unordered_map<ScopeId, Shelf> shelves_ GUARDED_BY(mutex_);
  std::thread refiller_;
};

}  // namespace coffer
