#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/vfs/shown_state.h"
#include "fs/vfs/types.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// Where an inode can be found: an entry of a directory, by its plaintext name and as stored.
struct Place {
  InodeId parent;
  std::string name;
  std::string stored;
  bool operator==(const Place&) const = default;
};

/// The backing's own name for an object, whatever links lead to it.
struct BackingId {
  dev_t dev = 0;
  ino_t ino = 0;
  bool operator==(const BackingId&) const = default;
};

inline BackingId backing_id(const struct stat& status) { return {status.st_dev, status.st_ino}; }

struct BackingIdHash {
  std::size_t operator()(const BackingId& id) const noexcept {
    return static_cast<std::size_t>(id.ino * 0x9E3779B97F4A7C15ULL ^ id.dev);
  }
};

/// Every inode the kernel or an open file holds a reference to, and the directories above them. No
/// descriptors: a place is enough to find the object again. Thread-safe.
class InodeTable {
 public:
  explicit InodeTable(BackingId root);

  /// The inode of a backing object, made if it is new; takes one reference and remembers the place,
  /// the newest first.
  InodeId remember(BackingId backing, mode_t type, const Place& place);
  /// One more reference to an inode that is there; false if it is not.
  [[nodiscard]] bool hold(InodeId inode);
  /// Gives back references; true if the inode is gone with them.
  bool forget(InodeId inode, std::uint64_t references);

  struct Known {
    BackingId backing;
    mode_t type = 0;
    std::optional<Place> place;  ///< none for the root, and for an object that was deleted
    bool operator==(const Known&) const = default;
  };
  /// Nothing for an inode that the table does not have.
  [[nodiscard]] std::optional<Known> find(InodeId inode) const;
  /// More places than one: a hard link, or a name that is not its own.
  [[nodiscard]] bool has_several_places(InodeId inode) const;
  /// All places that it was looked up at and not dropped from, the newest first.
  [[nodiscard]] std::vector<Place> places(InodeId inode) const;
  /// The inode of a backing object if the kernel holds it.
  [[nodiscard]] std::optional<InodeId> find(BackingId backing) const;

  // For a mount that another program's changes are seen in.
  /// The file of an inode was opened in this state. True if all that the kernel may have kept of
  /// its pages since the last time is of this very state.
  bool note_opened(InodeId inode, FileId file, std::uint64_t generation);
  /// It has this state now, while it is open.
  void note_changed(InodeId inode, std::uint64_t generation);
  /// The newest generation that was noted of this file at this inode; 0 if none was.
  [[nodiscard]] std::uint64_t noted_generation(InodeId inode, FileId file) const;

  /// An entry is gone; the object with it if it was its last. One that has other links, whether
  /// they are known here or not, is the same inode when it is found by them.
  void drop_place(BackingId backing, InodeId parent, std::string_view name, bool last);
  /// An entry leads to another place now.
  void move_place(BackingId backing, const Place& from, const Place& to);
  /// The object was remade under another backing id (a renamed symlink).
  void replace_backing(BackingId old_backing, BackingId new_backing);

  /// "/models/a.bin", by the inode's newest place; "(deleted)" in place of what is not known any
  /// more.
  [[nodiscard]] std::string path(InodeId inode) const;
  /// Of an entry of that directory.
  [[nodiscard]] std::string path(InodeId directory, std::string_view name) const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::vector<InodeId> all() const;
  /// Every place of every inode: what the kernel may keep an entry of.
  [[nodiscard]] std::vector<Place> all_places() const;

 private:
  struct Inode {
    BackingId backing;
    mode_t type = 0;
    std::uint64_t references = 0;
    std::uint64_t children = 0;  ///< places that name it as their parent
    std::vector<Place> places;
    ShownState shown = {};
  };

  void add_place(Inode& inode, const Place& place) REQUIRES(mutex_);
  void remove_place(Inode& inode, std::size_t index) REQUIRES(mutex_);
  void release_if_unused(InodeId id) REQUIRES(mutex_);

  mutable SharedMutex mutex_;
  std::unordered_map<InodeId, Inode> inodes_ GUARDED_BY(mutex_);
  std::unordered_map<BackingId, InodeId, BackingIdHash> by_backing_ GUARDED_BY(mutex_);
  std::uint64_t next_id_ GUARDED_BY(mutex_) = kRootInode.value + 1;
};

}  // namespace coffer
