#include "mount-tools/tree.h"

#include <algorithm>

namespace coffer {

std::pair<std::string, std::string> split_path(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

std::string join_path(const std::string& directory, const std::string& name) {
  return directory == "/" ? "/" + name : directory + "/" + name;
}

Result<Found> find_path(Vfs& vfs, const Who& who, const std::string& path) {
  Found found{.inode = InodeRef(vfs, kRootInode),
              .attributes = TRY(vfs.attributes(who, kRootInode))};
  std::size_t at = 1;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    auto entry = vfs.lookup(who, found.inode.get(), std::string_view(path).substr(at, end - at));
    if (!entry) {
      Error error = std::move(entry).error();
      if (error.context.empty()) error.context = path.substr(0, end);
      return error;
    }
    found = Found{.inode = InodeRef(vfs, entry->inode), .attributes = entry->attributes};
    at = end + 1;
  }
  return found;
}

Result<InodeRef> find_damaged(Vfs& vfs, const Who& who, const std::string& path) {
  auto found = find_path(vfs, who, path);
  if (found) return std::move(found->inode);
  if (found.error().code != Code::kCorrupt || path == "/") return std::move(found).error();
  const auto [parent_path, name] = split_path(path);
  const Found parent = TRY(find_path(vfs, who, parent_path));
  return InodeRef(vfs, TRY(vfs.lookup_damaged(who, parent.inode.get(), name)).inode);
}

Result<std::vector<std::string>> list_names(Vfs& vfs, const Who& who, InodeId directory) {
  const auto handle = TRY(vfs.open_directory(who, directory));
  std::vector<std::string> names;
  TRY(vfs.list(*handle, 0, [&](const ListedEntry& entry) {
    if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
    return true;
  }));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace coffer
