#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace coffer::testing {

struct ReferenceNode;
using NodePtr = std::shared_ptr<ReferenceNode>;

/// A file, directory, symlink or fifo as a process sees it. Lives while an entry or a handle has
/// it.
struct ReferenceNode {
  mode_t mode = 0;  ///< with its type
  uid_t uid = 0;
  std::string content;                      ///< of a file; target of a symlink
  std::map<std::string, NodePtr> entries;   ///< of a directory
  ReferenceNode* parent = nullptr;          ///< of a directory; none for the root and a removed one
  unsigned links = 0;                       ///< entries that lead here
  unsigned links_lost = 0;                  ///< how often one was removed or renamed over
  std::optional<struct timespec> modified;  ///< as it was set, until something changes it
  std::set<std::string> touched;  ///< names made, removed or replaced here; for whoever lists it

  [[nodiscard]] bool is_directory() const { return S_ISDIR(mode); }
  [[nodiscard]] bool is_file() const { return S_ISREG(mode); }
  [[nodiscard]] bool is_symlink() const { return S_ISLNK(mode); }
};

/// Where a node lies.
struct ReferenceEntry {
  NodePtr parent;
  std::string name;
  NodePtr node;
};

/// What a filesystem has to do, in its simplest form: a tree in memory. Each operation returns 0 or
/// an errno and, if it fails, changes nothing. Handles are the caller's: who holds a node can read
/// and write it. Not thread-safe.
class ReferenceTree {
 public:
  explicit ReferenceTree(uid_t uid);

  [[nodiscard]] const NodePtr& root() const { return root_; }
  /// "/a/b"; "" for the root. Of a directory that is in the tree.
  [[nodiscard]] std::string path(const ReferenceNode& directory) const;
  /// All of them, the root's first.
  [[nodiscard]] std::vector<ReferenceEntry> entries() const;
  [[nodiscard]] std::vector<NodePtr> directories() const;

  /// Null if there is nothing of that name.
  static NodePtr find(const ReferenceNode& parent, const std::string& name);
  /// `mode` with its type; `content` of a symlink. O_EXCL, mkdir, mknod and symlink alike.
  int make(const NodePtr& parent, const std::string& name, mode_t mode, std::string content = {});
  /// What open(2) does to what is there, O_EXCL aside.
  static int open(ReferenceNode& node, int flags);
  int link(const NodePtr& node, const NodePtr& parent, const std::string& name);
  int unlink(const NodePtr& parent, const std::string& name);
  int remove_directory(const NodePtr& parent, const std::string& name);
  int rename(const NodePtr& from, const std::string& name, const NodePtr& to,
             const std::string& new_name, unsigned flags);

  static std::string read(const ReferenceNode& file, std::uint64_t offset, std::size_t length);
  static void write(ReferenceNode& file, std::uint64_t offset, std::string_view data);
  static void truncate(ReferenceNode& file, std::uint64_t size);

 private:
  static void put(const NodePtr& parent, const std::string& name, const NodePtr& node);
  static NodePtr take(const NodePtr& parent, const std::string& name);
  [[nodiscard]] static bool is_at_or_above(const ReferenceNode& upper, const ReferenceNode* lower);

  uid_t uid_;
  NodePtr root_;
};

}  // namespace coffer::testing
