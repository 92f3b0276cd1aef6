// How a file, symlink or node loses a name, and goes with its last.

#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {

std::shared_ptr<OpenFile> Vfs::hold_for_unlink(const Who& who, const Spot& spot,
                                               const struct stat& status) {
  if (!S_ISREG(status.st_mode)) return nullptr;
  const InodeId inode = inodes_.remember(backing_id(status), S_IFREG, spot.place());
  auto file =
      acquire(who, inode, {.rights = Rights::of(Right::kWrite), .writable = status.st_nlink > 1});
  // One that is open already is held all the same: it has to know that it was deleted.
  std::shared_ptr<OpenFile> held = file ? std::move(*file) : files_.acquire(inode);
  inodes_.forget(inode, 1);
  return held;
}

void Vfs::finish_unlink(const std::shared_ptr<OpenFile>& file, const Spot& spot,
                        const struct stat& status) {
  drop_sidecar(spot.backing(), spot.stored);
  if (file != nullptr) drop_link(*file, spot);
  inodes_.drop_place(backing_id(status), spot.parent, spot.name, status.st_nlink <= 1);
  if (file != nullptr) let_go(file);
}

void Vfs::drop_link(OpenFile& file, const Spot& spot) {
  const auto left = file.content().backing().status();
  if (left && left->st_nlink == 0) {
    file.mark_deleted();
    return;
  }
  file.content().retire_binding(
      spot.names->bind_file(file.content().keys().file, spot.directory->id, spot.name));
}

void Vfs::keep_node(std::optional<InodeId> inode, const struct stat& status, UniqueFd pinned) {
  const mode_t type = status.st_mode & S_IFMT;
  if (!inode.has_value() || !pinned.valid() || S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type))
    return;
  Syscalls& calls = options_.calls != nullptr ? *options_.calls : real_syscalls();
  removed_nodes_.keep(inodes_, *inode, BackingFile(calls, std::move(pinned), false));
}

Result<void> Vfs::unlink(const Who& who, InodeId parent, std::string_view name) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  const struct stat status = TRY(at.backing().status_of(at.stored.text));
  if (S_ISDIR(status.st_mode)) return errno_error(EISDIR);
  std::string target;
  if (S_ISLNK(status.st_mode)) target = TRY(at.backing().read_symlink(at.stored.text));
  const auto file = hold_for_unlink(who, at, status);
  // Its inode number must not come back for another object before the table has dropped this one.
  auto pinned = file == nullptr ? at.backing().pin(at.stored.text) : UniqueFd();
  const auto known = inodes_.find(backing_id(status));
  if (auto removed = at.backing().remove_file(at.stored.text); !removed) {
    if (file != nullptr) let_go(file);
    return removed;
  }
  drop_target_sidecar(at.backing(), target);
  finish_unlink(file, at, status);
  if (pinned) keep_node(known, status, std::move(*pinned));
  return {};
}

}  // namespace coffer
