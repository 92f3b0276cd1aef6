// Making entries, and removing directories.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/vfs/vfs.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

/// The stored names in a directory that is to be emptied, read before the first goes.
Result<std::vector<std::string>> names_in(const BackingDir& dir) {
  std::vector<std::string> names;
  const auto reader = TRY(dir.reader());
  while (const auto entry = TRY(reader->next())) {
    if (!is_dot(entry->name)) names.emplace_back(entry->name);
  }
  return names;
}

/// Removes what lies in a directory that was taken out of the tree: its record and sidecars, no
/// user's files.
Result<void> remove_contents(const BackingDir& dir) {
  for (const std::string& name : TRY(names_in(dir))) TRY(dir.remove_file(name));
  return {};
}

/// Removes a directory of .coffer/tmp as far as that can be done; the next mount does the rest.
void drop_directory(const BackingDir& temporary, const std::string& name) {
  if (const auto dir = temporary.open_dir(name)) (void)remove_contents(**dir);
  (void)temporary.remove_dir(name);
}

}  // namespace

std::string Vfs::temporary_name() {
  std::array<std::uint8_t, 16> random;
  random_bytes(random);
  return to_hex(random);
}

Result<void> Vfs::empty_temporary() const {
  for (const std::string& name : TRY(names_in(*temporary_))) {
    if (const auto dir = temporary_->open_dir(name)) {
      // After a loss of power a directory may be back here whose move into place was lost, but not
      // what was made in it.
      const auto names = TRY(names_in(**dir));
      const bool is_own = std::all_of(names.begin(), names.end(), [](const std::string& entry) {
        return ScopeNames::is_own_file(entry);
      });
      if (!is_own) {
        options_.tell(std::string(kPrivateDir) + "/" + kTemporaryDir + "/" + name +
                      ": a directory that was being made, with files in it; left there");
        continue;
      }
      TRY(remove_contents(**dir));
      TRY(temporary_->remove_dir(name));
    } else {
      TRY(temporary_->remove_file(name));
    }
  }
  return {};
}

Result<Entry> Vfs::make_directory(const Who& who, InodeId parent, std::string_view name,
                                  mode_t mode) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  DirId dir;
  random_bytes(dir.bytes);
  return place_directory(who, at, *at.names, dir, mode);
}

Result<Entry> Vfs::make_scope_root(const Who& who, InodeId parent, std::string_view name,
                                   const ScopeNames& names, DirId dir, mode_t mode) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  return place_directory(who, at, names, dir, mode);
}

void Vfs::drop_unused_sidecar(const Spot& spot) {
  if (!spot.stored.sidecar.has_value()) return;
  const auto there = spot.backing().status_of(spot.stored.text);
  if (!there && there.error().code == Code::kNotFound) drop_sidecar(spot.backing(), spot.stored);
}

/// Made whole in .coffer/tmp, then renamed into place: there is no moment at which it lacks its
/// record.
Result<Entry> Vfs::place_directory(const Who& who, const Spot& spot, const ScopeNames& names,
                                   DirId dir_id, mode_t asked) {
  const Inherited inherited = TRY(inherit(who, spot, S_IFDIR | (asked & 07777)));
  const mode_t mode = inherited.mode & 07777;
  Hash xattrs{};
  if (!inherited.xattrs.empty()) {
    const Suite suite = TRY(scope_suite(names.scope()));
    const SecretBytes key = names.directory_xattr_key(dir_id, suite);
    xattrs = TRY(save_xattrs({.id = dir_id.view(), .suite = suite, .key = key}, inherited.xattrs));
  }
  const DirectoryBlock record = names.seal_directory(
      DirectoryRecord{.scope = names.scope(),
                      .store = store_,
                      .dir = dir_id,
                      .generation = 1,
                      .bindings = {names.bind_directory(dir_id, spot.directory->id, spot.name)},
                      .xattrs = xattrs});
  // One that its mode forbids to its owner could not be moved into place by us.
  const mode_t making = ::geteuid() == 0 ? mode : mode | S_IRWXU;
  const struct stat parent = TRY(spot.backing().status());
  const std::string temporary = temporary_name();
  TRY(temporary_->make_dir(temporary, 0700));
  const auto fill = [&]() -> Result<void> {
    const auto dir = TRY(temporary_->open_dir(temporary));
    // On the disk before the directory has its name: without its record all in it is lost.
    TRY(write_directory_block(*dir, record));
    TRY(give_to(who, *temporary_, temporary, S_IFDIR | (making & 07777), parent));
    TRY(put_sidecar(spot.backing(), spot.stored));
    auto renamed =
        temporary_->rename(temporary, spot.backing(), spot.stored.text, RENAME_NOREPLACE);
    if (!renamed && renamed.error().errno_value == EINVAL) {
      // A backing without RENAME_NOREPLACE: a directory is never empty there, so that none is
      // replaced.
      renamed = temporary_->rename(temporary, spot.backing(), spot.stored.text, 0);
    }
    const bool taken = !renamed && (renamed.error().errno_value == ENOTEMPTY ||
                                    renamed.error().errno_value == ENOTDIR);
    return taken ? errno_error(EEXIST) : renamed;
  };
  if (auto filled = fill(); !filled) {
    drop_directory(*temporary_, temporary);
    drop_unused_sidecar(spot);
    xattrs_.drop(dir_id.view(), xattrs);
    return std::move(filled).error();
  }
  if (making != mode) {
    if (auto given =
            give_to(who, spot.backing(), spot.stored.text, S_IFDIR | (mode & 07777), parent);
        !given) {
      options_.report(given.error());
    }
  }
  return entry_at(spot, TRY(spot.backing().status_of(spot.stored.text)));
}

Result<Entry> Vfs::make_node(const Who& who, InodeId parent, std::string_view name, mode_t mode,
                             dev_t device) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  if (S_ISREG(mode) || (mode & S_IFMT) == 0) {
    Entry entry;
    let_go(TRY(create_at(who, at, mode, {}, entry)));
    return entry;
  }
  bool there = false;
  const auto make = [&]() -> Result<void> {
    const struct stat parent_status = TRY(at.backing().status());
    TRY(put_sidecar(at.backing(), at.stored));
    const Inherited inherited = TRY(inherit(who, at, mode));
    TRY(at.backing().make_special(at.stored.text, inherited.mode, device));
    there = true;
    return give_to(who, at.backing(), at.stored.text, inherited.mode, parent_status);
  };
  if (auto made = make(); !made) {
    if (there) (void)at.backing().remove_file(at.stored.text);
    drop_unused_sidecar(at);
    return std::move(made).error();
  }
  return entry_at(at, TRY(at.backing().status_of(at.stored.text)));
}

Result<Entry> Vfs::make_symlink(const Who& who, InodeId parent, std::string_view name,
                                std::string_view target) {
  TRY(require_writable());
  if (target.size() > kMaxTargetLength) return errno_error(ENAMETOOLONG);
  if (target.empty()) return errno_error(ENOENT);
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  const StoredText stored =
      at.names->encode_target(target, at.names->bind_symlink(at.directory->id, name), {});
  // An entry that is there may have this very target, and then has this very sidecar.
  if (at.backing().status_of(at.stored.text).ok()) return errno_error(EEXIST);
  bool there = false;
  const auto make = [&]() -> Result<void> {
    const struct stat parent_status = TRY(at.backing().status());
    TRY(put_sidecar(at.backing(), at.stored));
    TRY(put_sidecar(at.backing(), stored));
    TRY(at.backing().make_symlink(at.stored.text, stored.text));
    there = true;
    return give_to(who, at.backing(), at.stored.text, S_IFLNK, parent_status);
  };
  if (auto made = make(); !made) {
    if (there) there = !at.backing().remove_file(at.stored.text).ok();
    if (!there && made.error().errno_value != EEXIST) drop_sidecar(at.backing(), stored);
    drop_unused_sidecar(at);
    return std::move(made).error();
  }
  return entry_at(at, TRY(at.backing().status_of(at.stored.text)));
}

Result<std::string> Vfs::read_symlink(const Who& who, InodeId inode) {
  std::string target;
  TRY(at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    TRY(names_.look_up(who, spot.directory->scope, Right::kList, spot.path));
    target = TRY(
        read_target(spot.backing(), *spot.names, spot.directory->id, spot.name, spot.stored.text));
    return {};
  }));
  return target;
}

Result<Entry> Vfs::link(const Who& who, InodeId known_as, InodeId new_parent,
                        std::string_view new_name) {
  TRY(require_writable());
  const InodeId inode = TRY(to_change(who, known_as));
  const Spot to = TRY(spot(who, new_parent, new_name, Right::kWrite));
  const auto known = inodes_.find(inode);
  if (!known.has_value()) return errno_error(ESTALE);
  if (S_ISLNK(known->type)) return errno_error(EPERM, "a symlink is bound to one place");
  if (S_ISDIR(known->type)) return errno_error(EPERM);

  const LinkLocks::Hold links = links_.hold(known->backing);
  std::shared_ptr<OpenFile> file;
  Binding binding{};
  if (S_ISREG(known->type)) {
    file = TRY(acquire(who, inode, kForWriting));
    binding = to.names->bind_file(file->content().keys().file, to.directory->id, new_name);
  }
  const auto make = [&]() -> Result<void> {
    if (file != nullptr && file->content().keys().scope != to.directory->scope)
      return errno_error(EXDEV);
    // An entry that is there keeps its binding whatever becomes of this one.
    if (to.backing().status_of(to.stored.text).ok()) return errno_error(EEXIST);
    const auto place = [&]() -> Result<void> {
      if (file != nullptr) {
        TRY(file->content().add_binding(binding));
        TRY(file->content().sync(true));
      }
      TRY(put_sidecar(to.backing(), to.stored));
      return at_place(who, inode, [&](const Spot& from) -> Result<void> {
        if (from.directory->scope != to.directory->scope) return errno_error(EXDEV);
        return from.backing().link(from.stored.text, to.backing(), to.stored.text);
      });
    };
    auto linked = place();
    if (!linked && linked.error().errno_value != EEXIST) {
      if (file != nullptr) file->content().retire_binding(binding);
      drop_unused_sidecar(to);
    }
    return linked;
  };
  auto made = make();
  if (file != nullptr) let_go(file);
  TRY(std::move(made));
  return entry_at(to, TRY(to.backing().status_of(to.stored.text)));
}

Result<void> Vfs::refuse_scope_roots(const Spot& spot) const {
  const auto policy = TRY(broker_.policy());
  if (policy->scope_at_or_below(spot.path)) {
    return errno_error(EBUSY, spot.path + " is, or holds, the root of a scope");
  }
  return {};
}

Result<void> Vfs::check_empty(const Spot& spot, const struct stat& status) {
  settle_removed();  // on NFS a removed file stays in its directory while it is open
  const LentDirectory lent =
      TRY(LentDirectory::lend(spot.backing(), spot.stored.text, status.st_mode));
  const auto dir = TRY(spot.backing().open_dir(spot.stored.text));
  const auto reader = TRY(dir->reader());
  while (const auto entry = TRY(reader->next())) {
    if (!is_dot(entry->name) && !ScopeNames::is_own_file(entry->name))
      return errno_error(ENOTEMPTY);
  }
  return {};
}

/// Of a directory that was moved to .coffer/tmp to be removed. What can't be read leaves garbage
/// behind.
void Vfs::retire_record_xattrs(const ScopeNames& names, const std::string& temporary) {
  if (!may_have_xattrs()) return;
  const auto dir = temporary_->open_dir(temporary);
  if (!dir) return;
  if (const auto record = read_directory_record(**dir, names))
    retire_xattrs(record->dir.view(), record->xattrs);
}

Result<void> Vfs::discard_directory(const Spot& spot, const struct stat& status) {
  const std::string temporary = temporary_name();
  LentDirectory lent = TRY(LentDirectory::lend(spot.backing(), spot.stored.text, status.st_mode));
  TRY(spot.backing().rename(spot.stored.text, *temporary_, temporary, 0));
  lent.keep();
  drop_sidecar(spot.backing(), spot.stored);
  // Stays in directories_ until the kernel forgets it: whoever has it open, or works in it, may
  // still ask for its attributes.
  inodes_.drop_place(backing_id(status), spot.parent, spot.name, true);
  retire_record_xattrs(*spot.names, temporary);
  drop_directory(*temporary_, temporary);
  return {};
}

Result<void> Vfs::remove_directory(const Who& who, InodeId parent, std::string_view name) {
  TRY(require_writable());
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  const struct stat status = TRY(at.backing().status_of(at.stored.text));
  if (!S_ISDIR(status.st_mode)) return errno_error(ENOTDIR);
  TRY(refuse_scope_roots(at));
  TRY(check_empty(at, status));
  return discard_directory(at, status);
}

}  // namespace coffer
