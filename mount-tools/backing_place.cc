#include "mount-tools/backing_place.h"

#include <algorithm>

#include "fs/names/stored.h"

namespace coffer {
namespace {

/// "/a//b/" and "a/b" → {"a", "b"}.
std::vector<std::string> components_of(const std::string& path) {
  std::vector<std::string> components;
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (end > at) components.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  return components;
}

/// Goes down from the root; `step` makes of a component what it is in this directory.
Result<std::vector<BackingStep>> walk(
    Vfs& vfs, const Who& who, const std::vector<std::string>& components,
    const std::function<Result<BackingStep>(const DirectoryHandle&, const std::string&)>& step) {
  std::vector<BackingStep> steps;
  InodeRef at(vfs, kRootInode);
  for (std::size_t i = 0; i < components.size(); ++i) {
    const auto handle = TRY(vfs.open_directory(who, at.get()));
    steps.push_back(TRY(step(*handle, components[i])));
    if (i + 1 == components.size()) break;
    auto entry = vfs.lookup(who, at.get(), steps.back().name);
    if (!entry) {
      Error error = std::move(entry).error();
      if (error.context.empty()) error.context = plain_path(steps);
      return error;
    }
    at = InodeRef(vfs, entry->inode);
  }
  return steps;
}

BackingStep make_step(const DirectoryHandle& handle, std::string name, std::string stored) {
  return BackingStep{.name = std::move(name),
                     .stored = stored,
                     .sidecar = ScopeNames::is_long_name(stored) ? ScopeNames::name_sidecar(stored)
                                                                 : std::string(),
                     .directory = handle.directory->id,
                     .names = handle.admission->names()};
}

}  // namespace

Result<std::vector<BackingStep>> steps_to(Vfs& vfs, const Who& who, const std::string& path) {
  return walk(vfs, who, components_of(path),
              [](const DirectoryHandle& handle, const std::string& name) -> Result<BackingStep> {
                const StoredText stored =
                    TRY(handle.admission->names()->encode_name(handle.directory->id, name));
                return make_step(handle, name, stored.text);
              });
}

Result<std::vector<BackingStep>> steps_from(Vfs& vfs, const Who& who, const std::string& backing) {
  return walk(vfs, who, components_of(backing),
              [&](const DirectoryHandle& handle, const std::string& stored) -> Result<BackingStep> {
                auto name =
                    TRY(read_entry_name(*handle.directory->backing, *handle.admission->names(),
                                        handle.directory->id, stored));
                if (!name.has_value())
                  return Error{Code::kNotFound, 0,
                               backing + ": " + stored + " is no name of the directory it is in"};
                return make_step(handle, std::move(*name), stored);
              });
}

std::string plain_path(const std::vector<BackingStep>& steps) {
  std::string path;
  for (const BackingStep& step : steps) path += "/" + step.name;
  return path.empty() ? "/" : path;
}

std::string backing_path(const std::vector<BackingStep>& steps) {
  std::string path = ".";
  for (const BackingStep& step : steps) path = join_backing(path, step.stored);
  return path;
}

std::string join_backing(const std::string& directory, std::string_view stored) {
  return directory == "." ? std::string(stored) : (directory + "/").append(stored);
}

Result<std::shared_ptr<const BackingDir>> open_backing_dir(const BackingDir& root,
                                                           const std::string& backing) {
  auto dir = TRY(root.open_dir("."));
  for (const std::string& component : components_of(backing)) {
    if (component == ".") continue;
    if (component == "..") return Error{Code::kInvalid, 0, backing + " leads out of the store"};
    dir = TRY(dir->open_dir(component));
  }
  return dir;
}

std::vector<std::string> stored_names(const BackingDir& root, const std::string& backing) {
  std::vector<std::string> names;
  const auto dir = open_backing_dir(root, backing);
  if (!dir) return names;
  const auto reader = (*dir)->reader();
  if (!reader) return names;
  while (true) {
    const auto entry = (*reader)->next();
    if (!entry || !entry->has_value()) break;
    if ((*entry)->name != "." && (*entry)->name != "..") names.emplace_back((*entry)->name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string temporary_path() { return std::string(kPrivateDir) + "/" + kTemporaryDir; }

std::string journal_path() { return std::string(kPrivateDir) + "/" + kJournalDir; }

std::string xattr_path() { return std::string(kPrivateDir) + "/" + kXattrDir; }

std::pair<std::string, std::string> split_backing(const std::string& backing) {
  const std::size_t slash = backing.find_last_of('/');
  if (slash == std::string::npos) return {".", backing};
  return {backing.substr(0, slash), backing.substr(slash + 1)};
}

}  // namespace coffer
