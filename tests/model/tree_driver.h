#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/reference_tree.h"
#include "tests/support/fs_random.h"
#include "tests/support/store_paths.h"

namespace coffer::testing {

/// A name or path for people to read: bytes that do not print escaped, long names shortened.
std::string in_quotes(const std::string& path);

/// What a driver works on, and how.
struct DriverSetup {
  std::string top;  ///< path of the directory it has to itself; "" for the root
  std::uint64_t seed = 1;
  std::size_t chunk_size = 4096;
  bool reserved_names = true;  ///< a store of encrypted names takes those of the format, too
};

/// Does random operations on a filesystem and on a ReferenceTree, the same on both, and compares
/// what comes of them. Holds files open and inodes looked up for long, as the kernel does. A
/// difference fails the test and ends the driver; the last operations are printed with it. For one
/// thread; several drivers can work in one filesystem.
class TreeDriver {
 public:
  TreeDriver(Vfs& vfs, DriverSetup setup);
  ~TreeDriver();
  TreeDriver(const TreeDriver&) = delete;
  TreeDriver& operator=(const TreeDriver&) = delete;

  void step();
  /// Compares all names, attributes and contents.
  void compare_all();
  /// Closes and forgets all, so that the store can be closed; `resume` goes on in the one opened
  /// again.
  void pause();
  void resume(Vfs& vfs) { vfs_ = &vfs; }
  [[nodiscard]] bool failed() const { return failed_; }
  /// Files in the tree; each has an active key.
  [[nodiscard]] std::size_t files() const;
  [[nodiscard]] std::string last_operations() const;

 private:
  using InodeReference = std::shared_ptr<HeldInode>;

  struct Handle {
    HeldFile file;
    NodePtr node;
    int access = 0;
  };
  struct Kept {
    InodeReference inode;
    NodePtr node;
    unsigned links_lost = 0;  ///< the node's when it was looked up last
  };
  /// A listing that goes on while the directory changes.
  struct Listing {
    InodeReference inode;
    std::unique_ptr<DirectoryHandle> handle;
    NodePtr directory;
    std::set<std::string> at_start;
    std::map<std::string, int> seen;
    std::int64_t position = 0;
  };

  // tree_driver.cc: the operations.
  void create();
  void open();
  void write();
  void read();
  void truncate_by_handle();
  void truncate_by_path();
  void sync();
  void flush();
  void close();
  void make_directory();
  void make_symlink();
  void make_fifo();
  void make_empty_file();
  void link();
  void unlink();
  void remove_directory();
  void rename();
  void change_mode();
  void change_owner();
  void change_times();
  void keep();
  void drop();

  // tree_driver_check.cc: the comparisons.
  void status();
  void read_symlink();
  void check_kept();
  void check_handle();
  void list();
  void list_on();
  void finish_listing();
  Result<std::vector<std::string>> names_in(DirectoryHandle& handle,
                                            const ReferenceNode& directory);
  void compare_status(const struct stat& status, const ReferenceNode& node,
                      const std::string& what);
  void compare_entry(const Result<Entry>& made, const NodePtr& parent, const std::string& name);
  void compare_directory(const NodePtr& directory, InodeId inode,
                         std::map<ino_t, const ReferenceNode*>& numbers);
  void compare_content(InodeId inode, const ReferenceNode& node, const std::string& what);

  // Choices.
  NodePtr some_directory();
  /// Now and then something that is none.
  NodePtr some_parent();
  std::optional<ReferenceEntry> some_entry(mode_t type = 0);
  Handle* some_handle(int access_needed);
  std::string some_name();
  /// Rather one that is there.
  std::string some_name_in(const ReferenceNode& parent);
  std::uint64_t some_offset(const ReferenceNode& file);
  std::string some_data();
  struct timespec some_time();

  [[nodiscard]] Who who() const { return Who(Caller::self()); }
  [[nodiscard]] std::string path_of(const ReferenceEntry& entry) const;
  /// Of a node in the tree, by one of its links.
  [[nodiscard]] std::string path_of(const NodePtr& node) const;
  [[nodiscard]] std::string path_of_parent(const NodePtr& parent) const {
    return in_quotes(path_of(parent)) + "/";
  }
  /// A node's inode: as it is kept, or looked up anew. Null after a failure.
  InodeReference reach(const NodePtr& node, const std::string& path);
  InodeReference reach(const ReferenceEntry& entry) { return reach(entry.node, path_of(entry)); }
  InodeReference reach(const NodePtr& node) { return reach(node, path_of(node)); }
  InodeReference look_up(const std::string& path);
  void keep_handle(HeldFile file, const NodePtr& node, int access);

  void begin(std::string operation);
  /// True if both agree that it was done. `expected` is 0 or an errno.
  template <typename T>
  bool agree(const Result<T>& outcome, int expected) {
    return agree(outcome_of(outcome), expected, outcome.ok() ? "" : outcome.error().message());
  }
  bool agree(const std::string& outcome, int expected, const std::string& message);
  void fail(const std::string& difference);

  Vfs* vfs_;
  DriverSetup setup_;
  Chooser choose_;
  ReferenceTree tree_;
  std::vector<std::string> names_;
  std::vector<Handle> handles_;
  std::vector<Kept> kept_;
  std::optional<Listing> listing_;
  std::deque<std::string> log_;
  std::uint64_t steps_ = 0;
  bool failed_ = false;
};

}  // namespace coffer::testing
