#include "tests/support/store_tree.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

namespace coffer::testing {
namespace {

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

}  // namespace

std::ostream& operator<<(std::ostream& out, const TreeEntry& entry) {
  out << std::oct << entry.mode << std::dec << " uid " << entry.uid << " links " << entry.links;
  out << " length " << entry.content.size();
  if (entry.content.size() <= 40) out << " '" << entry.content << "'";
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

std::vector<std::string> backing_flaws(const std::string& root) {
  std::vector<std::string> flaws;
  check_directory(root, flaws);
  for (const std::string& name : backing_names(root + "/.coffer/tmp")) {
    flaws.push_back(root + "/.coffer/tmp/" + name);
  }
  return flaws;
}

}  // namespace coffer::testing
