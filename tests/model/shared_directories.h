#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "tests/support/fs_random.h"
#include "tests/support/store_paths.h"

namespace coffer::testing {

/// Two directories in which several threads make, replace, rename, link, remove and read files all
/// at once. What is where nobody can say; but each content tells whether it is whole, and no
/// operation may fail in another way than by a name that is gone. What FUSE's kernel side keeps
/// apart is kept apart (fs/LOCKING.md): changes of one directory, and of the links of one inode.
/// Thread-safe.
class SharedDirectories {
 public:
  /// Makes the directories.
  explicit SharedDirectories(Vfs& vfs);

  /// A random operation as thread number `thread`; false, and the test failed, if something is
  /// wrong.
  bool step(Chooser& choose, unsigned thread);
  /// Reads all there is; for when the threads have ended.
  void check_all(Vfs& vfs);

 private:
  struct Spot {
    std::size_t directory = 0;
    std::string name;
  };
  using Locks = std::vector<std::unique_lock<std::shared_mutex>>;

  void replace(Chooser& choose, unsigned thread);
  void rename(Chooser& choose);
  void unlink(Chooser& choose);
  void link(Chooser& choose);
  void read(Chooser& choose);
  void list(Chooser& choose);
  void overwrite_block(Chooser& choose);
  void read_block();

  static Spot some_spot(Chooser& choose);
  /// Of the directory itself if the name is empty.
  [[nodiscard]] static std::string path(const Spot& spot);
  Result<HeldInode> look_up(const Spot& spot);
  Locks lock_directories(const std::vector<std::size_t>& directories);
  std::shared_mutex& mutex_of(const HeldInode& inode) {
    return inodes_[inode.id().value % inodes_.size()];
  }
  /// With the directories locked: the inodes that are at the spots, so that their links are changed
  /// by one thread.
  Locks lock_inodes(const std::vector<Spot>& spots);
  void allow(const char* operation, const std::string& outcome,
             const std::vector<std::string>& allowed);
  void check_content(const HeldFile& file, const std::string& what);

  PathUser user_;
  std::array<std::shared_mutex, 2> directories_;
  std::array<std::shared_mutex, 64> inodes_;
  std::atomic<bool> failed_{false};
};

}  // namespace coffer::testing
