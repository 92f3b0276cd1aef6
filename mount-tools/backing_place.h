#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mount-tools/tree.h"

namespace coffer {

/// One component of a path, in plain and as the backing holds it.
struct BackingStep {
  std::string name;
  std::string stored;
  std::string sidecar;  ///< the file beside it that holds a long name; empty if there is none
  DirId directory;      ///< id of the directory it stands in
  std::shared_ptr<const ScopeNames> names;  ///< of that directory
};

/// The way to a plain path, whether or not anything is there; none for "/". Each directory on it is
/// opened as `who`: decided, and on the audit log.
Result<std::vector<BackingStep>> steps_to(Vfs& vfs, const Who& who, const std::string& path);
/// The same the other way, from a path relative to the store's directory. kNotFound if a component
/// is not a directory's own.
Result<std::vector<BackingStep>> steps_from(Vfs& vfs, const Who& who, const std::string& backing);

std::string plain_path(const std::vector<BackingStep>& steps);
/// Relative to the store's directory; "." for its root.
std::string backing_path(const std::vector<BackingStep>& steps);

/// "a" and "b" → "a/b"; "." and "b" → "b".
std::string join_backing(const std::string& directory, std::string_view stored);

/// A directory of the backing by its path relative to the root; no symlink is followed. kInvalid
/// for what leads out of it.
Result<std::shared_ptr<const BackingDir>> open_backing_dir(const BackingDir& root,
                                                           const std::string& backing);
/// What stands in it, "." and ".." left out, by name; nothing if it can't be read.
std::vector<std::string> stored_names(const BackingDir& root, const std::string& backing);
/// Where entries are made, relative to the store's directory.
std::string temporary_path();
/// Where the redo journals are, relative to the store's directory.
std::string journal_path();
/// Where the sidecars of extended attributes are, relative to the store's directory.
std::string xattr_path();
/// "a/b" → {"a", "b"}; "b" → {".", "b"}.
std::pair<std::string, std::string> split_backing(const std::string& backing);

}  // namespace coffer
