#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {

Result<Entry> Vfs::lookup(const Who& who, InodeId parent, std::string_view name) {
  auto found = spot(who, parent, name, Right::kList);
  audiences_.note_lookup(who.thread());
  // A name that nothing can have: to look for it is no mistake, only to make it.
  if (!found && found.error().errno_value == EINVAL) return errno_error(ENOENT);
  const Spot at = TRY(std::move(found));
  const struct stat status = TRY(at.backing().status_of(at.stored.text));
  if (drop_unborn(at, status)) return errno_error(ENOENT);
  auto entry = entry_at(at, status);
  if (entry && sets_apart(status.st_mode)) take_view(who.identity(), at.directory->scope, *entry);
  if (entry || entry.error().code != Code::kCorrupt) return entry;
  return at_path(std::move(entry).error(), at.path);
}

bool Vfs::drop_unborn(const Spot& spot, const struct stat& status) {
  if (!S_ISREG(status.st_mode) || status.st_size >= static_cast<off_t>(kBodyOffset) ||
      !may_be_unfinished()) {
    return false;
  }
  if (options_.read_only) return true;
  if (auto removed = spot.backing().remove_file(spot.stored.text); !removed) return true;
  drop_sidecar(spot.backing(), spot.stored);
  options_.tell(inodes_.path(spot.parent, spot.name) +
                ": dropped, its creation had not reached the disk");
  return true;
}

Result<Entry> Vfs::lookup_damaged(const Who& who, InodeId parent, std::string_view name) {
  const Spot at = TRY(spot(who, parent, name, Right::kList));
  struct stat status = TRY(at.backing().status_of(at.stored.text));
  status.st_size = 0;
  const InodeId inode = inodes_.remember(backing_id(status), status.st_mode & S_IFMT, at.place());
  Entry entry{.inode = inode,
              .attributes = status,
              .strict = flags_of(at.directory->scope).strict,
              .attributes_hold = false};
  if (sets_apart(status.st_mode)) take_view(who.identity(), at.directory->scope, entry);
  return entry;
}

Result<Entry> Vfs::entry_at(const Spot& spot, const struct stat& status) {
  Entry entry;
  // The size first: an entry that can't be shown takes no reference.
  entry.attributes = TRY(plain_status(*spot.directory, spot.stored.text, status));
  entry.inode = inodes_.remember(backing_id(status), status.st_mode & S_IFMT, spot.place());
  // It was authenticated at one place, which says nothing of another.
  if (S_ISDIR(status.st_mode) && inodes_.has_several_places(entry.inode)) {
    directories_.drop(entry.inode);
  }
  if (const auto open = files_.find(entry.inode)) {
    entry.attributes.st_size = static_cast<off_t>(open->content().size());
  }
  entry.strict = flags_of(spot.directory->scope).strict;
  entry.attributes_hold = !entry.strict;
  return entry;
}

Result<struct stat> Vfs::plain_status(const Directory& directory, const std::string& stored,
                                      struct stat status) {
  if (S_ISREG(status.st_mode)) {
    if (const auto inode = inodes_.find(backing_id(status))) {
      if (const auto open = files_.find(*inode)) return status_of_open(*open);
    }
    const Geometry geometry(TRY(chunk_log2(directory.scope)));
    const auto backing_size = static_cast<std::uint64_t>(status.st_size);
    auto size = geometry.plain_size(backing_size);
    // It may be the tail of an append, of which opening the file tells.
    if (!size.has_value() && may_be_unfinished()) size = geometry.plain_size_below(backing_size);
    if (!size.has_value()) {
      return Error{Code::kCorrupt, EIO,
                   "the backing file has a size that no file has: it was cut, or its creation was "
                   "interrupted"};
    }
    status.st_size = static_cast<off_t>(*size);
  } else if (S_ISLNK(status.st_mode)) {
    status.st_size =
        static_cast<off_t>(TRY(read_target_length(*directory.backing, stored, status)));
  }
  return status;
}

Result<struct stat> Vfs::status_of_open(OpenFile& file) {
  // The times first: should the state be newer, the kernel sees them move once more and drops the
  // pages that it has of both.
  struct stat status = TRY(file.content().status());
  (void)follow(file);  // whoever reads is told of what fails
  status.st_size = static_cast<off_t>(file.content().size());
  return status;
}

Result<struct stat> Vfs::attributes(const Who& who, InodeId known_as) {
  const InodeId inode = views_.file(known_as);
  TRY(decide_to_show(who, inode));
  if (const auto open = files_.find(inode)) return status_of_open(*open);
  if (inode == kRootInode) {
    struct stat status = TRY(root_->status());
    if (status.st_nlink > 2) --status.st_nlink;  // .coffer, where subdirectories are counted
    return status;
  }
  // A directory that is held open needs no way to it, and may have none left.
  if (const auto held = directories_.find(inode)) return held->backing->status();
  if (const auto removed = removed_nodes_.find(inode)) return removed->status();
  struct stat result {};
  TRY(at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    const struct stat status = TRY(spot.backing().status_of(spot.stored.text));
    const auto known = inodes_.find(inode);
    if (!known.has_value() || backing_id(status) != known->backing) return errno_error(ESTALE);
    result = TRY(plain_status(*spot.directory, spot.stored.text, status));
    return {};
  }));
  return result;
}

Result<struct stat> Vfs::change_attributes(const Who& who, InodeId known_as,
                                           const AttributeChange& change,
                                           const FileHandle* handle) {
  TRY(require_writable());
  const InodeId inode = handle != nullptr ? views_.file(known_as) : TRY(to_change(who, known_as));
  if (change.size.has_value()) TRY(change_size(who, inode, *change.size, handle));
  const auto change_the_rest = [&]() -> Result<struct stat> {
    if (change.mode) TRY(follow_mode(who, inode, *change.mode));
    if (change.mode || change.uid || change.gid || change.access_time || change.modification_time) {
      TRY(change_stored_attributes(who, inode, change));
    }
    return attributes(who, inode);
  };
  auto changed = change_the_rest();
  if (!changed && change.size.has_value()) let_see(inode);
  return changed;
}

Result<void> Vfs::change_size(const Who& who, InodeId inode, std::uint64_t size,
                              const FileHandle* handle) {
  if (handle != nullptr && handle->rights().contains(Right::kWrite)) {
    TRY(handle->admission->check());
    TRY(decide_use(who, *handle->admission, Right::kWrite));
    EncryptedFile& content = handle->file->content();
    const bool same = content.size() == size;
    auto cut = content.truncate(size);
    if (!cut) let_see(inode);
    if (!cut || !same) return cut;
    // ftruncate(2) is a modification even then, other than truncate(2) (POSIX).
    return content.touch();
  }
  const auto file = TRY(acquire(who, inode, kForWriting));
  auto done = file->content().truncate(size);
  if (!done) let_see(inode);
  let_go(file);
  return done;
}

Result<void> Vfs::change_stored_attributes(const Who& who, InodeId inode,
                                           const AttributeChange& change) {
  constexpr Rights kWrite = Rights::of(Right::kWrite);
  const uid_t uid = change.uid.value_or(static_cast<uid_t>(-1));
  const gid_t gid = change.gid.value_or(static_cast<gid_t>(-1));
  constexpr struct timespec kOmit = {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  const struct timespec times[2] = {change.access_time.value_or(kOmit),
                                    change.modification_time.value_or(kOmit)};
  const bool has_times = change.access_time || change.modification_time;

  if (const auto open = files_.find(inode)) {
    TRY(broker_.check({open->content().keys().scope, who.identity(), kWrite, inodes_.path(inode)}));
    EncryptedFile& content = open->content();
    if (change.uid || change.gid) TRY(content.set_owner(uid, gid));
    if (change.mode) TRY(content.set_mode(*change.mode & 07777));
    return has_times ? content.set_times(times) : Result<void>();
  }
  const auto apply = [&](const BackingDir& dir, const std::string& stored) -> Result<void> {
    // The owner first: changing it clears suid and sgid, which the mode then sets.
    if (change.uid || change.gid) TRY(dir.set_owner(stored, uid, gid));
    if (change.mode) TRY(dir.set_mode(stored, *change.mode & 07777));
    return has_times ? dir.set_times(stored, times) : Result<void>();
  };
  if (inode == kRootInode) {
    TRY(broker_.check({kRootScope, who.identity(), kWrite, "/"}));
    return apply(*root_, ".");
  }
  return at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    TRY(broker_.check({spot.directory->scope, who.identity(), kWrite, spot.path}));
    return apply(spot.backing(), spot.stored.text);
  });
}

Result<void> Vfs::give_to(const Who& who, const BackingDir& in, const std::string& stored,
                          mode_t mode, const struct stat& parent) const {
  const bool inherits_group = (parent.st_mode & S_ISGID) != 0;
  if (::geteuid() == 0) {
    TRY(in.set_owner(stored, who.uid(), inherits_group ? parent.st_gid : who.gid()));
  } else if (inherits_group) {
    (void)in.set_owner(stored, static_cast<uid_t>(-1), parent.st_gid);  // not if we are no member
  }
  if (S_ISDIR(mode) && inherits_group) mode |= S_ISGID;
  if (S_ISLNK(mode)) return {};
  return in.set_mode(stored, mode & 07777);
}

}  // namespace coffer
