#include "fs/vfs/new_files.h"

#include <algorithm>
#include <unordered_set>

namespace coffer {

void NewFiles::add(std::shared_ptr<const BackingDir> dir, std::string name) {
  auto entry = std::make_shared<const Entry>(Entry{std::move(dir), std::move(name)});
  MutexLock lock(mutex_);
  if (entries_.size() < kMost) {
    entries_.push_back(std::move(entry));
  } else {
    ++left_out_;
  }
}

void NewFiles::drop(const Entries& done) {
  std::unordered_set<const Entry*> gone;
  for (const auto& entry : done) gone.insert(entry.get());
  std::erase_if(entries_, [&](const auto& entry) { return gone.contains(entry.get()); });
}

/// A file that is gone, whatever has its name now, needs no sync.
Result<void> NewFiles::sync_file(const Entry& entry) {
  const auto is_gone = [&] {
    const auto status = entry.dir->status_of(entry.name);
    return status ? !S_ISREG(status->st_mode) : status.error().code == Code::kNotFound;
  };
  if (is_gone()) return {};
  const auto file = entry.dir->open_file(entry.name, false);
  if (!file) return is_gone() ? Result<void>() : file.error();
  return file->sync(false);
}

Result<void> NewFiles::sync_directory(const BackingDir& dir) {
  const struct stat wanted = TRY(dir.status());
  Entries files;
  bool all_here = false;
  {
    MutexLock lock(mutex_);
    files = entries_;
    all_here = left_out_ == 0;
  }
  if (!all_here) return sync_filesystem();
  std::erase_if(files, [&](const auto& entry) {
    const auto status = entry->dir->status();
    return !status || status->st_ino != wanted.st_ino || status->st_dev != wanted.st_dev;
  });
  // They stay in the list until that is done, for others who need them meanwhile.
  for (const auto& entry : files) TRY(sync_file(*entry));
  MutexLock lock(mutex_);
  drop(files);
  return {};
}

Result<void> NewFiles::sync_filesystem() {
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
