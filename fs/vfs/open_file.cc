#include "fs/vfs/open_file.h"

#include <cerrno>

namespace coffer {

Result<void> check_recorded(const CommittedState& state, const Dek& dek) {
  if (state.generation < dek.generation) {
    return Error{Code::kRolledBack, EIO,
                 "the file is older (generation " + std::to_string(state.generation) +
                     ") than the one on record (" + std::to_string(dek.generation) +
                     "): it was put back in the backing directory"};
  }
  if (state.generation == dek.generation && state.root != dek.root) {
    return Error{Code::kRolledBack, EIO,
                 "the file is another state of itself than the one on record"};
  }
  return {};
}

void OpenFile::end() {
  content_.reset();
  ended_.store(true, std::memory_order_release);
}

Result<void> OpenFile::outcome() const {
  if (ended() && (saved() || deleted())) return {};
  return Error{Code::kRevoked, EKEYREVOKED, "the mount was locked before all of it was written"};
}

bool OpenFile::is_due(std::chrono::milliseconds interval) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  auto last = last_due_.load(std::memory_order_relaxed);
  if (now - last < std::chrono::steady_clock::duration(interval).count()) return false;
  return last_due_.compare_exchange_strong(last, now, std::memory_order_relaxed);
}

std::shared_ptr<OpenFile> OpenFileTable::acquire(InodeId inode) {
  WriteLock lock(mutex_);
  const auto found = slots_.find(inode);
  if (found == slots_.end()) return nullptr;
  ++found->second.handles;
  return found->second.file;
}

std::shared_ptr<OpenFile> OpenFileTable::find(InodeId inode) const {
  ReadLock lock(mutex_);
  const auto found = slots_.find(inode);
  return found == slots_.end() ? nullptr : found->second.file;
}

std::uint64_t OpenFileTable::before_reading(InodeId inode) const {
  ReadLock lock(mutex_);
  return endings_[inode.value % kCounters];
}

std::shared_ptr<OpenFile> OpenFileTable::insert(InodeId inode, std::shared_ptr<OpenFile> file,
                                                std::uint64_t before_reading) {
  WriteLock lock(mutex_);
  if (const auto found = slots_.find(inode); found != slots_.end()) {
    ++found->second.handles;
    return found->second.file;
  }
  if (endings_[inode.value % kCounters] != before_reading) return nullptr;
  slots_.emplace(inode, Slot{.file = file, .handles = 1});
  return file;
}

std::shared_ptr<OpenFile> OpenFileTable::acquire_or_outdate(InodeId inode) {
  WriteLock lock(mutex_);
  if (const auto found = slots_.find(inode); found != slots_.end()) {
    ++found->second.handles;
    return found->second.file;
  }
  ++endings_[inode.value % kCounters];
  return nullptr;
}

bool OpenFileTable::release(InodeId inode) {
  std::shared_ptr<OpenFile> last;  // goes after the lock
  WriteLock lock(mutex_);
  const auto found = slots_.find(inode);
  if (found == slots_.end()) return false;
  if (--found->second.handles > 0) return false;
  last = std::move(found->second.file);
  slots_.erase(found);
  if (last->changed()) ++endings_[inode.value % kCounters];
  return true;
}

std::size_t OpenFileTable::size() const {
  ReadLock lock(mutex_);
  return slots_.size();
}

std::vector<std::shared_ptr<OpenFile>> OpenFileTable::all() const {
  ReadLock lock(mutex_);
  std::vector<std::shared_ptr<OpenFile>> files;
  files.reserve(slots_.size());
  for (const auto& [inode, slot] : slots_) files.push_back(slot.file);
  return files;
}

std::vector<std::shared_ptr<OpenFile>> OpenFileTable::take_all() {
  auto files = all();
  WriteLock lock(mutex_);
  slots_.clear();
  for (std::uint64_t& endings : endings_) ++endings;
  return files;
}

}  // namespace coffer
