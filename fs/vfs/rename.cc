#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "fs/vfs/vfs.h"

namespace coffer {

/// An object about to change its place, with whatever carries its name bindings: a file's header, a
/// directory's record, a symlink's own text. Bound to both places while it moves (fs/FORMAT.md, 6).
class Vfs::Movable {
 public:
  /// The object that `spot` leads to. Its key has to be had.
  static Result<Movable> hold(Vfs& vfs, const Who& who, const Spot& spot,
                              const struct stat& status) {
    Movable movable(vfs, who, status);
    const InodeId inode =
        vfs.inodes_.remember(backing_id(status), status.st_mode & S_IFMT, spot.place());
    auto held = movable.hold_inode(inode, spot);
    vfs.forget(inode, 1);
    if (!held) return std::move(held).error();
    return movable;
  }
  Movable(Movable&& other) noexcept = default;
  Movable(const Movable&) = delete;
  Movable& operator=(const Movable&) = delete;
  Movable& operator=(Movable&&) = delete;
  ~Movable() {
    if (file_ != nullptr) vfs_->let_go(file_);
  }

  /// It lies at `at` and may also be found at `also` from now on: on the disk, too, lest the
  /// renaming gets there without it.
  Result<void> bind_also(const Spot& at, const Spot& also) {
    if (file_ != nullptr) {
      TRY(file_->content().add_binding(file_binding(also)));
      return file_->content().sync(true);
    }
    if (directory_ != nullptr) return rewrite_record(*at.names, &also, nullptr);
    if (S_ISLNK(status_.st_mode)) return rewrite_link(at, &also, nullptr);
    return {};
  }

  /// It lies at `at` and may no longer be found at `no_more`, once that is on the disk: a file's
  /// binding is dropped at the next sync of the filesystem, the rarer others wait for the disk
  /// here.
  Result<void> unbind(const Spot& at, const Spot& no_more) {
    if (file_ != nullptr) {
      file_->content().retire_binding(file_binding(no_more));
      return {};
    }
    if (directory_ != nullptr || S_ISLNK(status_.st_mode)) {
      TRY(at.backing().sync());
      if (no_more.directory != at.directory) TRY(no_more.backing().sync());
    }
    if (directory_ != nullptr) return rewrite_record(*at.names, nullptr, &no_more);
    if (S_ISLNK(status_.st_mode)) return rewrite_link(at, nullptr, &no_more);
    return {};
  }

  /// The same where what was to be done is done, or is taken back: no caller can do more about a
  /// binding too many.
  void settle(const Spot& at, const Spot& no_more) {
    if (auto unbound = unbind(at, no_more); !unbound) vfs_->options_.report(unbound.error());
  }

  [[nodiscard]] BackingId id() const { return backing_id(status_); }

 private:
  Movable(Vfs& vfs, const Who& who, const struct stat& status)
      : vfs_(&vfs), who_(&who), status_(status) {}

  Result<void> hold_inode(InodeId inode, const Spot& spot) {
    if (S_ISREG(status_.st_mode)) {
      file_ = TRY(vfs_->acquire(*who_, inode, kForWriting));
    } else if (S_ISDIR(status_.st_mode)) {
      lent_.emplace(TRY(LentDirectory::lend(spot.backing(), spot.stored.text, status_.st_mode)));
      directory_ = TRY(vfs_->directory(*who_, inode));
    } else if (S_ISLNK(status_.st_mode)) {
      target_ = TRY(read_target(spot.backing(), *spot.names, spot.directory->id, spot.name,
                                spot.stored.text));
    }
    return {};
  }

  [[nodiscard]] Binding file_binding(const Spot& spot) const {
    return spot.names->bind_file(file_->content().keys().file, spot.directory->id, spot.name);
  }

  [[nodiscard]] Binding directory_binding(const Spot& spot) const {
    return spot.names->bind_directory(directory_->id, spot.directory->id, spot.name);
  }

  Result<void> rewrite_record(const ScopeNames& names, const Spot* add, const Spot* drop) {
    return vfs_->rewrite_record(*directory_, names, [&](DirectoryRecord& record) -> Result<void> {
      if (add != nullptr) {
        const Binding binding = directory_binding(*add);
        if (std::find(record.bindings.begin(), record.bindings.end(), binding) ==
            record.bindings.end()) {
          if (record.bindings.size() == kMaxDirectoryBindings) return errno_error(EMLINK);
          record.bindings.push_back(binding);
        }
      }
      if (drop != nullptr) std::erase(record.bindings, directory_binding(*drop));
      return {};
    });
  }

  /// Replaces the symlink at `at` by one that is bound to it and, if given, to `second`, and no
  /// longer to `no_more`. Wherever it may come to lie its sidecar lies, too.
  Result<void> rewrite_link(const Spot& at, const Spot* second, const Spot* no_more) {
    const auto bind = [](const Spot& spot) {
      return spot.names->bind_symlink(spot.directory->id, spot.name);
    };
    const std::string old_text = TRY(at.backing().read_symlink(at.stored.text));
    const StoredText text =
        at.names->encode_target(target_, bind(at), second != nullptr ? bind(*second) : Binding{});
    const auto write = [&]() -> Result<void> {
      TRY(put_sidecar(at.backing(), text));
      if (second != nullptr) TRY(put_sidecar(second->backing(), text));
      return replace_link(at, text.text);
    };
    if (auto written = write(); !written) {
      if (old_text != text.text) {
        drop_sidecar(at.backing(), text);
        if (second != nullptr) drop_sidecar(second->backing(), text);
      }
      return written;
    }
    if (old_text != text.text) {
      drop_target_sidecar(at.backing(), old_text);
      if (no_more != nullptr) drop_target_sidecar(no_more->backing(), old_text);
    }
    return {};
  }

  Result<void> replace_link(const Spot& at, const std::string& text) {
    // The old one's inode number stays taken until the table has the new one.
    const auto pinned = at.backing().pin(at.stored.text);
    const std::string temporary = temporary_name();
    const BackingDir& in = *vfs_->temporary_;
    TRY(in.make_symlink(temporary, text));
    const auto replace = [&]() -> Result<void> {
      if (::geteuid() == 0) TRY(in.set_owner(temporary, status_.st_uid, status_.st_gid));
      const struct timespec times[2] = {status_.st_atim, status_.st_mtim};
      TRY(in.set_times(temporary, times));
      const struct stat now = TRY(in.status_of(temporary));
      WriteLock lock(vfs_->moving_);
      TRY(in.rename(temporary, at.backing(), at.stored.text, 0));
      vfs_->inodes_.replace_backing(backing_id(status_), backing_id(now));
      status_ = now;
      return {};
    };
    auto replaced = replace();
    if (!replaced) (void)in.remove_file(temporary);
    return replaced;
  }

  Vfs* vfs_;
  const Who* who_;
  struct stat status_;
  std::shared_ptr<OpenFile> file_;
  std::optional<LentDirectory> lent_;
  std::shared_ptr<const Directory> directory_;
  std::string target_;
};

Result<std::optional<struct stat>> Vfs::status_if_there(const Spot& spot) {
  auto there = spot.backing().status_of(spot.stored.text);
  if (there) return std::optional(*there);
  if (there.error().code != Code::kNotFound) return std::move(there).error();
  return std::optional<struct stat>();
}

Result<void> Vfs::rename(const Who& who, InodeId parent, std::string_view name, InodeId new_parent,
                         std::string_view new_name, unsigned flags) {
  TRY(require_writable());
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
      flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
    return errno_error(EINVAL);
  }
  const Spot from = TRY(spot(who, parent, name, Right::kWrite));
  const Spot to = TRY(spot(who, new_parent, new_name, Right::kWrite));
  struct stat status = TRY(from.backing().status_of(from.stored.text));
  std::optional<struct stat> victim = TRY(status_if_there(to));
  const auto other =
      victim.has_value() ? std::optional(backing_id(*victim)) : std::optional<BackingId>();
  const LinkLocks::Hold links = links_.hold(backing_id(status), other);
  if (views_.any()) {
    status = TRY(from.backing().status_of(from.stored.text));
    victim = TRY(status_if_there(to));
  }
  if (victim.has_value() && (flags & RENAME_NOREPLACE) != 0) return errno_error(EEXIST);
  if (!victim.has_value() && (flags & RENAME_EXCHANGE) != 0) return errno_error(ENOENT);
  if (victim.has_value() && backing_id(*victim) == backing_id(status))
    return {};  // POSIX: two links of one file
  TRY(refuse_scope_roots(from));
  if (victim.has_value()) TRY(refuse_scope_roots(to));
  // Keys do not cross scopes: mv then copies, which encrypts anew.
  if (from.directory->scope != to.directory->scope) return errno_error(EXDEV);
  if ((flags & RENAME_EXCHANGE) != 0) return exchange(who, from, to, status, *victim);

  if (victim.has_value() && S_ISDIR(victim->st_mode) != S_ISDIR(status.st_mode)) {
    return errno_error(S_ISDIR(victim->st_mode) ? EISDIR : ENOTDIR);
  }
  if (victim.has_value() && S_ISDIR(victim->st_mode)) {
    // A directory is never empty in the backing, so that rename can't replace it there: they change
    // places, and it goes.
    TRY(check_empty(to, *victim));
    TRY(exchange(who, from, to, status, *victim));
    auto discarded = discard_directory(from, *victim);
    if (!discarded) {
      if (auto back = exchange(who, from, to, *victim, status); !back)
        options_.report(back.error());
    }
    return discarded;
  }
  return move(who, from, to, status, victim, flags);
}

Result<void> Vfs::move(const Who& who, const Spot& from, const Spot& to, const struct stat& status,
                       const std::optional<struct stat>& victim, unsigned flags) {
  Doomed replaced;
  std::string replaced_target;
  if (victim.has_value()) {
    if (S_ISLNK(victim->st_mode)) replaced_target = TRY(to.backing().read_symlink(to.stored.text));
    replaced = hold_for_unlink(who, to, *victim);
  }
  auto object = Movable::hold(*this, who, from, status);
  auto moved = object ? carry(*object, from, to, victim, flags) : Result<void>(object.error());
  if (moved && victim.has_value()) {
    // The symlink that was moved may have the target of the one it replaced, and then has its
    // sidecar.
    const auto target = to.backing().read_symlink(to.stored.text);
    if (!target || *target != replaced_target) drop_target_sidecar(to.backing(), replaced_target);
    finish_unlink(std::move(replaced), who, to, *victim);
  } else if (replaced.file != nullptr) {
    let_go(replaced.file);
  }
  return moved;
}

/// Binds the object to both places, renames it in the backing, drops the old binding.
Result<void> Vfs::carry(Movable& object, const Spot& from, const Spot& to,
                        const std::optional<struct stat>& victim, unsigned flags) {
  auto moved = object.bind_also(from, to);
  if (moved) moved = put_sidecar(to.backing(), to.stored);
  if (moved) {
    WriteLock lock(moving_);
    moved = from.backing().rename(from.stored.text, to.backing(), to.stored.text, flags);
    if (moved) {
      if (victim.has_value()) {
        inodes_.drop_place(backing_id(*victim), to.parent, to.name, victim->st_nlink <= 1);
      }
      inodes_.move_place(object.id(), from.place(), to.place());
    }
  }
  if (!moved) {
    object.settle(from, to);
    drop_unused_sidecar(to);
    return moved;
  }
  drop_sidecar(from.backing(), from.stored);
  object.settle(to, from);
  return {};
}

Result<void> Vfs::exchange(const Who& who, const Spot& from, const Spot& to,
                           const struct stat& from_status, const struct stat& to_status) {
  Movable one = TRY(Movable::hold(*this, who, from, from_status));
  Movable other = TRY(Movable::hold(*this, who, to, to_status));
  auto exchanged = one.bind_also(from, to);
  if (exchanged) exchanged = other.bind_also(to, from);
  if (exchanged) {
    WriteLock lock(moving_);
    exchanged =
        from.backing().rename(from.stored.text, to.backing(), to.stored.text, RENAME_EXCHANGE);
    if (exchanged) {
      inodes_.move_place(one.id(), from.place(), to.place());
      inodes_.move_place(other.id(), to.place(), from.place());
    }
  }
  if (!exchanged) {
    one.settle(from, to);
    other.settle(to, from);
    return exchanged;
  }
  one.settle(to, from);
  other.settle(from, to);
  return {};
}

}  // namespace coffer
