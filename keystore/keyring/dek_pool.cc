#include "keystore/keyring/dek_pool.h"

#include <algorithm>
#include <iterator>

namespace coffer {
namespace {

constexpr std::size_t kLargestBatch = 1024;

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
    if (shelf.refilling) {
      changed_.wait(mutex_);
      continue;
    }
    shelf.refilling = true;
    mutex_.unlock();
    auto refilled = refill(scope);
    mutex_.lock();
    if (!refilled) return std::move(refilled).error();
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

void DekPool::refill_loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (wanted_.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    const ScopeId scope = wanted_.back();
    wanted_.pop_back();
    mutex_.unlock();
    // A failure shows to whoever finds the pool empty and tries again.
    (void)refill(scope);
    mutex_.lock();
  }
}

Result<void> DekPool::refill(ScopeId scope) {
  std::size_t count = 0;
  {
    MutexLock lock(mutex_);
    count = shelves_[scope].batch;
  }
  auto made = keyring_.make_deks(scope, count);
  MutexLock lock(mutex_);
  Shelf& shelf = shelves_[scope];
  shelf.refilling = false;
  changed_.notify_all();
  if (!made) return std::move(made).error();
  // Taken from the back: the newest batch goes under what is left of the last one.
  std::move(shelf.keys.begin(), shelf.keys.end(), std::back_inserter(*made));
  shelf.keys = std::move(*made);
  shelf.batch = std::min(shelf.batch * 2, kLargestBatch);
  return {};
}

}  // namespace coffer
