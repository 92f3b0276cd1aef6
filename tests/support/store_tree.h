#pragma once

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "tests/support/store_paths.h"

namespace coffer::testing {

/// What a process can see of one entry. Times and inode numbers are not part of it.
struct TreeEntry {
  mode_t mode = 0;  ///< with its type
  uid_t uid = 0;
  nlink_t links = 0;    ///< 0 for directories: what they count is the backing's affair
  std::string content;  ///< of a file; target of a symlink
  std::map<std::string, std::string> xattrs;
  std::string error;  ///< whatever could not be read
  bool operator==(const TreeEntry&) const = default;
};
std::ostream& operator<<(std::ostream& out, const TreeEntry& entry);

/// All entries by path, the root as "/".
using Tree = std::map<std::string, TreeEntry>;

/// Walks the filesystem from `path` down and reads everything in it.
Tree read_tree(const PathUser& user, const std::string& path = "/");
/// Paths and errors of what could not be read.
std::vector<std::string> unreadable(const Tree& tree);

/// What lies in a backing directory and should not: sidecars without an entry, entries without
/// their sidecar, temporary files, directories without a record, extended attributes of no object
/// and objects without those they name.
std::vector<std::string> backing_flaws(const std::string& root);

/// Every sidecar of extended attributes, as paths.
std::vector<std::string> xattr_sidecars(const std::string& root);

/// The stored names of a backing directory, "." and ".." left out, sorted.
std::vector<std::string> backing_names(const std::string& path);

/// Where the entry `path` lies in the backing directory `root`.
std::string stored_path(const PathUser& user, const std::string& root, const std::string& path);

/// The stored name in the backing directory `path` of the entry whose inode number is `number`.
std::string stored_name(const std::string& path, ino_t number);

}  // namespace coffer::testing
