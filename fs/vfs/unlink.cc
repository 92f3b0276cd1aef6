// How a file, symlink or node loses a name, and goes with its last.

#include <cerrno>
#include <exception>

#include "fs/vfs/vfs.h"

namespace coffer {

Vfs::Doomed Vfs::hold_for_unlink(const Who& who, const Spot& spot, const struct stat& status) {
  Doomed doomed{.inode = inodes_.find(backing_id(status))};
  if (can_retire_later(doomed, status)) {
    auto backing = spot.backing().open_file(spot.stored.text, false);
    const auto opened = backing ? backing->status() : Result<struct stat>(backing.error());
    if (opened && backing_id(*opened) == backing_id(status)) {
      doomed.unopened = std::move(*backing);
      return doomed;
    }
  }
  if (S_ISREG(status.st_mode)) {
    const InodeId inode = inodes_.remember(backing_id(status), S_IFREG, spot.place());
    auto file =
        acquire(who, inode, {.rights = Rights::of(Right::kWrite), .writable = status.st_nlink > 1});
    // One that is open already is held all the same: it has to know that it was deleted.
    doomed.file = file ? std::move(*file) : files_.acquire(inode);
    inodes_.forget(inode, 1);
    if (doomed.file != nullptr) return doomed;
  }
  if (auto pinned = spot.backing().pin(spot.stored.text)) doomed.pinned = std::move(*pinned);
  return doomed;
}

bool Vfs::can_retire_later(const Doomed& doomed, const struct stat& status) const {
  const bool is_open = doomed.inode.has_value() && files_.find(*doomed.inode) != nullptr;
  return options_.retires_later && recorder_ != nullptr && S_ISREG(status.st_mode) &&
         status.st_nlink == 1 && status.st_size <= kMostRetiredLater && !is_open &&
         journals_->left() == 0;  // one may be this file's, and has to go with it
}

void Vfs::finish_unlink(Doomed doomed, const Who& who, const Spot& spot,
                        const struct stat& status) {
  // The kernel has noted it of the number alone that it found by the name.
  if (views_.any() && doomed.inode) drop(*doomed.inode, Kept::kAttributes);
  if (doomed.unopened && doomed.inode) doomed.file = files_.acquire_or_outdate(*doomed.inode);
  if (doomed.file != nullptr) {
    drop_link(*doomed.file, spot);
    let_go(doomed.file);
  } else if (doomed.unopened) {
    retire_later(std::move(*doomed.unopened), who, spot);
  } else {
    keep_node(doomed.inode, status, std::move(doomed.pinned));
  }
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

void Vfs::retire_later(BackingFile removed, const Who& who, const Spot& spot) {
  const auto work = [this, spot, who = who.identity(),
                     removed = std::make_shared<BackingFile>(std::move(removed))] {
    try {
      // One whose key can't be had can be removed all the same.
      (void)retire(std::move(*removed), who, spot);
    } catch (const std::exception& bug) {
      options_.report(Error{Code::kIo, 0, spot.path + ": " + bug.what()});
    }
  };
  if (!retiring_.add(work)) work();
}

Result<void> Vfs::retire(BackingFile removed, const Identity& who, const Spot& spot) {
  const AccessRequest access{spot.directory->scope, who, Rights::of(Right::kWrite), spot.path};
  const auto opened = TRY(open_content(std::move(removed), spot, access));
  const FileKeys& keys = opened.content->keys();
  retire_xattrs(keys.file.view(), opened.content->xattrs());
  const CommittedState committed = opened.content->committed();
  recorder_->add({.file = keys.file,
                  .version = keys.dek_version,
                  .state = KeyState::kDeactivated,
                  .generation = committed.generation,
                  .root = committed.root});
  return {};
}

Result<void> Vfs::unlink(const Who& who, InodeId parent, std::string_view name) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  struct stat status = TRY(at.backing().status_of(at.stored.text));
  if (S_ISDIR(status.st_mode)) return errno_error(EISDIR);
  const LinkLocks::Hold links = links_.hold(backing_id(status));
  if (views_.any()) status = TRY(at.backing().status_of(at.stored.text));
  std::string target;
  if (S_ISLNK(status.st_mode)) target = TRY(at.backing().read_symlink(at.stored.text));
  Doomed doomed = hold_for_unlink(who, at, status);
  if (auto removed = at.backing().remove_file(at.stored.text); !removed) {
    if (doomed.file != nullptr) let_go(doomed.file);
    return removed;
  }
  drop_target_sidecar(at.backing(), target);
  drop_sidecar(at.backing(), at.stored);
  inodes_.drop_place(backing_id(status), parent, name, status.st_nlink <= 1);
  finish_unlink(std::move(doomed), who, at, status);
  return {};
}

}  // namespace coffer
