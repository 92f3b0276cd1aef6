#include <dirent.h>

#include "fs/vfs/vfs.h"

namespace coffer {

Result<std::unique_ptr<DirectoryHandle>> Vfs::open_directory(const Who& who, InodeId inode) {
  const std::uint64_t changes = broker_.changes();
  auto handle = std::make_unique<DirectoryHandle>();
  handle->inode = inode;
  handle->directory = TRY(directory(who, inode));
  const std::string path = inodes_.path(inode);
  auto names =
      TRY(names_.release({handle->directory->scope, who.identity(), Rights::of(Right::kList), path},
                         KeyBroker::Lines::kAll));
  handle->admission = TRY(admit(who,
                                {.scope = handle->directory->scope,
                                 .rights = Rights::of(Right::kList),
                                 .inode = inode,
                                 .known_as = inode,
                                 .flags = flags_of(handle->directory->scope)},
                                changes));
  handle->admission->keep_names(std::move(names));
  MutexLock lock(handle->mutex);
  handle->reader = TRY(handle->directory->backing->reader());
  return handle;
}

Result<void> Vfs::list(DirectoryHandle& handle, std::int64_t position,
                       const std::function<bool(const ListedEntry&)>& take, bool foreign_too) {
  TRY(handle.admission->check());
  MutexLock lock(handle.mutex);
  const Directory& directory = *handle.directory;
  handle.reader->seek(position);
  while (const auto entry = TRY(handle.reader->next())) {
    ListedEntry listed{.name = entry->name,
                       .inode_number = entry->inode,
                       .type = static_cast<mode_t>(DTTOIF(entry->type)),
                       .next = entry->next};
    std::optional<std::string> name;
    if (entry->name != "." && entry->name != "..") {
      name = TRY(read_entry_name(*directory.backing, *handle.admission->names(), directory.id,
                                 entry->name));
      if (!name.has_value()) {
        // The format's own files are neither entries nor foreign.
        listed.foreign = !ScopeNames::is_own_file(entry->name);
        if (!listed.foreign || !foreign_too) continue;
      } else {
        listed.name = *name;
        if (is_unborn(handle, *name, entry->name)) continue;
      }
    }
    if (!take(listed)) break;
  }
  return {};
}

bool Vfs::is_unborn(const DirectoryHandle& handle, std::string_view name, std::string_view stored) {
  if (!options_.after_crash) return false;
  const auto status = handle.directory->backing->status_of(std::string(stored));
  return status && drop_unborn({.directory = handle.directory,
                                .names = handle.admission->names(),
                                .parent = handle.inode,
                                .name = std::string(name),
                                .stored = {.text = std::string(stored), .sidecar = {}},
                                .path = {}},
                               *status);
}

Result<Entry> Vfs::lookup_listed(DirectoryHandle& handle, std::string_view name) {
  const Spot spot{.directory = handle.directory,
                  .names = handle.admission->names(),
                  .parent = handle.inode,
                  .name = std::string(name),
                  .stored = TRY(handle.admission->names()->encode_name(handle.directory->id, name)),
                  .path = {}};
  const struct stat status = TRY(spot.backing().status_of(spot.stored.text));
  if (drop_unborn(spot, status)) return errno_error(ENOENT);
  auto entry = TRY(entry_at(spot, status));
  if (sets_apart(status.st_mode))
    take_view(handle.admission->who(), handle.directory->scope, entry);
  return entry;
}

Result<void> Vfs::sync_directory(DirectoryHandle& handle) {
  TRY(new_files_.sync_directory(*handle.directory->backing));
  return handle.directory->backing->sync();
}

}  // namespace coffer
