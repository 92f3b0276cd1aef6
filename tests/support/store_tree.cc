#include "tests/support/store_tree.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <sstream>

namespace coffer::testing {
namespace {

void read_xattrs(const PathUser& user, const std::string& path, TreeEntry& entry) {
  const auto names = user.xattr_names(path);
  if (!names) entry.error += " listxattr: " + outcome_of(names) + " " + names.error().message();
  if (!names) return;
  for (const std::string& name : *names) {
    const auto value = user.xattr(path, name);
    entry.xattrs[name] = value ? *value : "ERROR " + value.error().message();
  }
}

void read_into(const PathUser& user, const std::string& path, Tree& tree) {
  TreeEntry entry;
  const auto status = user.status(path);
  if (!status) {
    entry.error = "stat: " + outcome_of(status) + " " + status.error().message();
    tree[path] = entry;
    return;
  }
  entry.mode = status->st_mode;
  entry.uid = status->st_uid;
  const auto keep = [&](const Result<std::string>& content, const char* what) {
    if (content) {
      entry.content = *content;
    } else {
      entry.error =
          std::string(what) + ": " + outcome_of(content) + " " + content.error().message();
    }
  };
  std::vector<std::string> names;
  if (S_ISDIR(entry.mode)) {
    const auto listed = user.list(path);
    if (listed) {
      names = *listed;
    } else {
      entry.error = "list: " + outcome_of(listed) + " " + listed.error().message();
    }
  } else {
    entry.links = status->st_nlink;
    if (S_ISREG(entry.mode)) keep(user.get(path), "read");
    if (S_ISLNK(entry.mode)) keep(user.read_symlink(path), "readlink");
    if ((S_ISREG(entry.mode) || S_ISLNK(entry.mode)) && entry.error.empty() &&
        static_cast<std::size_t>(status->st_size) != entry.content.size()) {
      entry.error = "stat says another size than there is";
    }
  }
  read_xattrs(user, path, entry);
  tree[path] = entry;
  for (const std::string& name : names) {
    read_into(user, path == "/" ? "/" + name : path + "/" + name, tree);
  }
}

std::string symlink_text(const std::string& path) {
  std::array<char, 4097> buffer;
  const ssize_t length = ::readlink(path.c_str(), buffer.data(), buffer.size());
  return length < 0 ? std::string() : std::string(buffer.data(), static_cast<std::size_t>(length));
}

void check_directory(const std::string& path, std::vector<std::string>& flaws) {
  const std::vector<std::string> all = backing_names(path);
  const std::set<std::string> names(all.begin(), all.end());
  std::set<std::string> targets;
  if (names.count(".coffer.dir") == 0) flaws.push_back(path + ": no record");
  for (const std::string& name : names) {
    const std::string child = path + "/" + name;
    struct stat status {};
    if (::lstat(child.c_str(), &status) != 0) std::abort();
    if (S_ISDIR(status.st_mode) && name != ".coffer") check_directory(child, flaws);
    if (S_ISLNK(status.st_mode)) {
      const std::string text = symlink_text(child);
      if (!text.starts_with(".coffer.target.")) continue;
      targets.insert(text);
      if (names.count(text) == 0) flaws.push_back(child + ": no sidecar of the target");
    }
  }
  for (const std::string& name : names) {
    const auto partner = [&](const char* own, const char* other) {
      return other + name.substr(std::string_view(own).size());
    };
    const bool allowed = name == ".coffer" || name == ".coffer.dir" ||
                         !name.starts_with(".coffer") ||
                         (name.starts_with(".coffer.long.") &&
                          names.count(partner(".coffer.long.", ".coffer.name.")) != 0) ||
                         (name.starts_with(".coffer.name.") &&
                          names.count(partner(".coffer.name.", ".coffer.long.")) != 0) ||
                         targets.count(name) != 0;
    if (!allowed) flaws.push_back(path + "/" + name);
  }
}

/// The sidecars that headers and records name, relative to .coffer/xattrs.
std::set<std::string> named_sidecars(const std::string& directory) {
  std::set<std::string> named;
  const auto add = [&](Bytes id, Bytes hash) {
    if (all_zero(hash)) return;
    named.insert(to_hex(id.last(1)) + "/" + to_hex(id) + "-" + to_hex(hash.first(8)));
  };
  for (const std::string& name : backing_names(directory)) {
    const std::string path = directory + "/" + name;
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) std::abort();
    if (S_ISDIR(status.st_mode) && name != ".coffer") named.merge(named_sidecars(path));
    if (!S_ISREG(status.st_mode)) continue;
    std::array<std::uint8_t, 2 * kBlockSize> head{};
    const std::ifstream file(path, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    const std::string bytes = content.str().substr(0, head.size());
    std::copy(bytes.begin(), bytes.end(), head.begin());
    if (name == ".coffer.dir") {
      add(Bytes(head).subspan(32, 16), Bytes(head).subspan(192, 32));
    } else if ((!name.starts_with(".coffer") || name.starts_with(".coffer.long.")) &&
               bytes.size() == head.size()) {
      const std::size_t newest =
          load_le<std::uint64_t>(head, 64) > load_le<std::uint64_t>(head, kBlockSize + 64)
              ? 0
              : kBlockSize;
      add(Bytes(head).subspan(newest + 32, 16), Bytes(head).subspan(newest + 192, 32));
    }
  }
  return named;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const TreeEntry& entry) {
  out << std::oct << entry.mode << std::dec << " uid " << entry.uid << " links " << entry.links;
  out << " length " << entry.content.size();
  if (entry.content.size() <= 40) out << " '" << entry.content << "'";
  for (const auto& [name, value] : entry.xattrs)
    out << " " << name << "='" << value.substr(0, 20) << "'";
  return out << (entry.error.empty() ? "" : " ERROR " + entry.error);
}

Tree read_tree(const PathUser& user, const std::string& path) {
  Tree tree;
  read_into(user, path, tree);
  return tree;
}

std::vector<std::string> unreadable(const Tree& tree) {
  std::vector<std::string> paths;
  for (const auto& [path, entry] : tree) {
    if (!entry.error.empty()) paths.push_back(path + ": " + entry.error);
  }
  return paths;
}

std::vector<std::string> backing_names(const std::string& path) {
  std::vector<std::string> names;
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) std::abort();
  while (const dirent* const entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::string stored_name(const std::string& path, ino_t number) {
  for (const std::string& name : backing_names(path)) {
    struct stat status {};
    if (::lstat((path + "/" + name).c_str(), &status) == 0 && status.st_ino == number) return name;
  }
  std::abort();
}

std::string stored_path(const PathUser& user, const std::string& root, const std::string& path) {
  std::string stored = root;
  for (std::size_t end = 0; end < path.size();) {
    end = std::min(path.find('/', end + 1), path.size());
    const auto status = user.status(path.substr(0, end));
    if (!status) std::abort();
    stored += "/" + stored_name(stored, status->st_ino);
  }
  return stored;
}

std::vector<std::string> xattr_sidecars(const std::string& root) {
  std::vector<std::string> found;
  const std::string all = root + "/.coffer/xattrs";
  struct stat status {};
  if (::stat(all.c_str(), &status) != 0) return found;
  for (const std::string& fan : backing_names(all)) {
    for (const std::string& name : backing_names(all + "/" + fan)) {
      found.push_back(all + "/" + fan + "/" + name);
    }
  }
  return found;
}

std::vector<std::string> backing_flaws(const std::string& root) {
  std::vector<std::string> flaws;
  check_directory(root, flaws);
  const std::vector<std::string> sidecars = xattr_sidecars(root);
  std::set<std::string> unnamed(sidecars.begin(), sidecars.end());
  for (const std::string& sidecar : named_sidecars(root)) {
    if (unnamed.erase(root + "/.coffer/xattrs/" + sidecar) == 0) flaws.push_back(sidecar);
  }
  flaws.insert(flaws.end(), unnamed.begin(), unnamed.end());
  for (const std::string& name : backing_names(root + "/.coffer/tmp")) {
    flaws.push_back(root + "/.coffer/tmp/" + name);
  }
  return flaws;
}

}  // namespace coffer::testing
