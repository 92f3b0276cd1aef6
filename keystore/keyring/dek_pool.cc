#include "keystore/keyring/dek_pool.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <new>
#include <utility>

#include "keystore/kms/lockable_kms.h"

namespace coffer {
namespace {

constexpr std::size_t kSmallestBatch = 8;
constexpr std::size_t kLargestBatch = 1024;
/// Batches grow where they are made in less, and shrink where it takes more.
constexpr std::chrono::milliseconds kQuick{500};
constexpr std::chrono::milliseconds kSlow{1000};

}  // namespace

DekPool::DekPool(Keyring& keyring) : keyring_(keyring), refiller_([this] { refill_loop(); }) {}

DekPool::~DekPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  refiller_.join();

  std::vector<FileId> unused;
  {
    MutexLock lock(mutex_);
    unused = std::move(unused_);
    for (const auto& [scope, shelf] : shelves_) {
      for (const Dek& dek : shelf.keys) unused.push_back(dek.file);
    }
  }
  // What can't be given back now stays as a key without a file, which `coffer verify` finds.
  (void)keyring_.discard_deks(unused);
}

Result<Dek> DekPool::take(ScopeId scope) {
  MutexLock lock(mutex_);
  Shelf& shelf = shelves_[scope];  // nodes of the map stay where they are
  while (shelf.keys.empty()) {
    if (closed_) return keys_are_locked();
    const std::uint64_t failures = shelf.failures;
    if (shelf.refilling) {
      while (shelf.refilling) changed_.wait(mutex_);
    } else {
      shelf.refilling = true;
      mutex_.unlock();
      refill(scope);
      mutex_.lock();
    }
    // One failure is told to all who waited: else each would wait out the next attempt in turn.
    if (shelf.keys.empty() && shelf.failures != failures) return shelf.last_failure;
  }
  Dek dek = std::move(shelf.keys.back());
  shelf.keys.pop_back();
  if (shelf.keys.size() < shelf.batch / 4 && !shelf.refilling && !stopping_) {
    shelf.refilling = true;
    wanted_.push_back(scope);
    changed_.notify_all();
  }
  return dek;
}

void DekPool::put_back(Dek dek) {
  MutexLock lock(mutex_);
  std::vector<Dek>& keys = shelves_[dek.scope].keys;
  keys.push_back(std::move(dek));
  if (closed_) discard(std::exchange(keys, {}));
}

void DekPool::discard(std::vector<Dek> keys) {
  for (const Dek& dek : keys) unused_.push_back(dek.file);
  changed_.notify_all();
}

void DekPool::close() {
  MutexLock lock(mutex_);
  closed_ = true;
  for (const ScopeId scope : std::exchange(wanted_, {})) shelves_[scope].refilling = false;
  for (auto& [scope, shelf] : shelves_) {
    discard(std::exchange(shelf.keys, {}));
    shelf.batch = Shelf().batch;
  }
}

void DekPool::open() {
  MutexLock lock(mutex_);
  closed_ = false;
}

void DekPool::refill_loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (!unused_.empty()) {
      const std::vector<FileId> unused = std::exchange(unused_, {});
      mutex_.unlock();
      (void)keyring_.discard_deks(unused);  // as at the end
      mutex_.lock();
      continue;
    }
    if (wanted_.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    const ScopeId scope = wanted_.back();
    wanted_.pop_back();
    mutex_.unlock();
    // A failure shows to whoever finds the pool empty and tries again.
    refill(scope);
    mutex_.lock();
  }
}

void DekPool::refill(ScopeId scope) {
  std::size_t count = 0;
  {
    MutexLock lock(mutex_);
    count = shelves_[scope].batch;
  }
  const auto make = [&]() -> Result<std::vector<Dek>> {
    try {
      return keyring_.make_deks(scope, count);
    } catch (const std::bad_alloc&) {
      // The limit on locked memory, most likely; those who wait have to hear of it.
      return Error{Code::kExhausted, ENOMEM, "no memory for new data keys"};
    }
  };
  const auto begun = std::chrono::steady_clock::now();
  auto made = make();
  const auto took = std::chrono::steady_clock::now() - begun;
  MutexLock lock(mutex_);
  Shelf& shelf = shelves_[scope];
  shelf.refilling = false;
  changed_.notify_all();
  if (!made) {
    ++shelf.failures;
    shelf.last_failure = std::move(made).error();
    return;
  }
  if (closed_) return discard(std::move(*made));
  // Taken from the back: the newest batch goes under what is left of the last one.
  std::move(shelf.keys.begin(), shelf.keys.end(), std::back_inserter(*made));
  shelf.keys = std::move(*made);
  // Whoever finds the pool empty waits for one.
  if (took < kQuick) shelf.batch = std::min(shelf.batch * 2, kLargestBatch);
  if (took > kSlow) shelf.batch = std::max(shelf.batch / 2, kSmallestBatch);
}

}  // namespace coffer
