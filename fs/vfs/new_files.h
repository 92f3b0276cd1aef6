#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// The files that were made since the backing filesystem was last synced. A new file's header is
/// not synced as it is made; an fsync of the directory sees to it, so that the name which that puts
/// on the disk leads to a file. Thread-safe.
class NewFiles {
 public:
  /// `root` is any directory of the backing filesystem.
  explicit NewFiles(std::shared_ptr<const BackingDir> root) : root_(std::move(root)) {}

  /// `name` lies in `dir`, wherever that is moved.
  void add(std::shared_ptr<const BackingDir> dir, std::string name);
  /// Puts the new files of this directory on the disk.
  Result<void> sync_directory(const BackingDir& dir);
  /// Puts everything there that is on the backing filesystem.
  Result<void> sync_filesystem();

 private:
  struct Entry {
    std::shared_ptr<const BackingDir> dir;
    std::string name;
  };
  using Entries = std::vector<std::shared_ptr<const Entry>>;
  /// Where there are more, the whole filesystem is synced instead.
  static constexpr std::size_t kMost = 1024;

  static Result<void> sync_file(const Entry& entry);
  void drop(const Entries& done) REQUIRES(mutex_);

  std::shared_ptr<const BackingDir> root_;
  Mutex mutex_;
  Entries entries_ GUARDED_BY(mutex_);
  std::uint64_t left_out_ GUARDED_BY(mutex_) = 0;  // how many found no room since the last sync
};

}  // namespace coffer
