#include "fs/vfs/unsynced_files.h"

#include <algorithm>

namespace coffer {

void UnsyncedFiles::add_companion(std::shared_ptr<const BackingDir> dir, std::string name) {
  add({.dir = std::move(dir), .name = std::move(name), .is_companion = true});
}

void UnsyncedFiles::add_new_file(std::shared_ptr<const BackingDir> dir, std::string name) {
  add({.dir = std::move(dir), .name = std::move(name), .is_companion = false});
}

void UnsyncedFiles::add(Entry entry) {
  auto shared = std::make_shared<const Entry>(std::move(entry));
  MutexLock lock(mutex_);
  if (entries_.size() < kMost) {
    entries_.push_back(std::move(shared));
  } else {
    ++left_out_;
  }
}

void UnsyncedFiles::drop(const Entries& done) {
  std::erase_if(entries_, [&](const auto& entry) {
    return std::find(done.begin(), done.end(), entry) != done.end();
  });
}

Result<void> UnsyncedFiles::sync_companions() {
  Entries companions;
  bool all_here = false;
  {
    MutexLock lock(mutex_);
    all_here = left_out_ == 0;
    std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(companions),
                 [](const auto& entry) { return entry->is_companion; });
  }
  return all_here ? sync(companions) : sync_filesystem();
}

Result<void> UnsyncedFiles::sync_directory(const BackingDir& dir) {
  TRY(sync_companions());
  const struct stat wanted = TRY(dir.status());
  Entries files;
  {
    MutexLock lock(mutex_);
    files = entries_;
  }
  std::erase_if(files, [&](const auto& entry) {
    const auto status = entry->dir->status();
    return entry->is_companion || !status || status->st_ino != wanted.st_ino ||
           status->st_dev != wanted.st_dev;
  });
  return sync(files);
}

Result<void> UnsyncedFiles::sync(const Entries& entries) {
  for (const auto& entry : entries) {
    auto file = entry->dir->open_file(entry->name, false);
    // What is gone needs no sync.
    if (!file && file.error().code == Code::kNotFound) continue;
    if (!file) return std::move(file).error();
    TRY(file->sync(false));
    if (entry->is_companion) TRY(entry->dir->sync());
  }
  if (entries.empty()) return {};
  MutexLock lock(mutex_);
  drop(entries);
  return {};
}

Result<void> UnsyncedFiles::sync_filesystem() {
  Entries before;
  std::uint64_t left_out = 0;
  {
    MutexLock lock(mutex_);
    before = entries_;
    left_out = left_out_;
  }
  TRY(root_->sync_filesystem());
  MutexLock lock(mutex_);
  drop(before);
  left_out_ -= std::min(left_out, left_out_);
  return {};
}

}  // namespace coffer
