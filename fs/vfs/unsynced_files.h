#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// The small files that were made since the backing filesystem was last synced and that others
/// cannot be found without: directory records, sidecars of long names. They are not synced as they
/// are made, which would cost a disk flush for each directory of an archive that is unpacked; but
/// before an fsync of any file returns, so that what it promised can be reached after a crash.
/// New files' own headers are here too, for the fsync of their directory. Thread-safe.
class UnsyncedFiles {
 public:
  /// `root` is any directory of the backing filesystem.
  explicit UnsyncedFiles(std::shared_ptr<const BackingDir> root) : root_(std::move(root)) {}

  /// `name` lies in `dir`, wherever that is moved.
  void add_companion(std::shared_ptr<const BackingDir> dir, std::string name);
  void add_new_file(std::shared_ptr<const BackingDir> dir, std::string name);

  /// Puts the companions on the disk.
  Result<void> sync_companions();
  /// The same, and the new files of this directory.
  Result<void> sync_directory(const BackingDir& dir);
  /// Puts everything on the disk that is on the backing filesystem.
  Result<void> sync_filesystem();

 private:
  struct Entry {
    std::shared_ptr<const BackingDir> dir;
    std::string name;
    bool is_companion = true;
  };
  using Entries = std::vector<std::shared_ptr<const Entry>>;
  /// Each holds a descriptor; where there are more, the whole filesystem is synced instead.
  static constexpr std::size_t kMost = 256;

  void add(Entry entry);
  /// Syncs each; they stay in the list until that is done, for others who need them meanwhile.
  Result<void> sync(const Entries& entries);
  void drop(const Entries& done) REQUIRES(mutex_);

  std::shared_ptr<const BackingDir> root_;
  Mutex mutex_;
  Entries entries_ GUARDED_BY(mutex_);
  std::uint64_t left_out_ GUARDED_BY(mutex_) = 0;  // how many found no room since the last sync
};

}  // namespace coffer
