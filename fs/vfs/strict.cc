// Scopes with flags (fs/SEMANTICS.md, "Strict scopes"): what is told and kept of what lies in them.

#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {

ScopeFlags Vfs::flags_of(ScopeId scope) {
  const auto policy = broker_.policy();
  // Where nothing can be decided, nothing is to be kept.
  return policy ? (*policy)->flags(scope) : ScopeFlags{.strict = true, .purge = true};
}

Error Vfs::hide(ScopeId scope, Error refused) {
  const bool refusal = refused.code == Code::kDenied || refused.code == Code::kRevoked ||
                       refused.code == Code::kExpired;
  if (!refusal || !flags_of(scope).strict) return refused;
  return errno_error(ENOENT, std::move(refused.context));
}

bool Vfs::attributes_hold(InodeId known_as) {
  if (Views::is_view(known_as) && !options_.read_only) return false;
  const auto policy = broker_.policy();
  if (policy && !(*policy)->some_strict()) return true;
  const InodeId inode = views_.file(known_as);
  if (inode == kRootInode) return true;
  const auto known = inodes_.find(inode);
  if (!known.has_value() || !known->place.has_value()) return false;
  // One that is not held any more is asked for so often that it will be.
  const auto parent = directories_.find(known->place->parent);
  return parent != nullptr && !flags_of(parent->scope).strict;
}

Result<void> Vfs::decide_to_show(const Who& who, InodeId inode) {
  if (inode == kRootInode || !TRY(broker_.policy())->some_strict()) return {};
  std::optional<ScopeId> scope;
  if (const auto open = files_.find(inode)) {
    scope = open->content().keys().scope;
  } else if (const auto known = inodes_.find(inode);
             known.has_value() && known->place.has_value()) {
    // A directory's own attributes are told with its name, by the scope that this lies in.
    scope = TRY(directory(who, known->place->parent))->scope;
  }
  if (!scope.has_value() || !flags_of(*scope).strict) return {};
  auto shown = names_.look_up(who, *scope, Right::kList, inodes_.path(inode));
  if (!shown) return hide(*scope, std::move(shown).error());
  return {};
}

Result<void> Vfs::decide_use(const Who& who, Admission& admission, Right right) {
  const Admission::To& to = admission.to();
  if (!to.flags.strict) return {};
  TRY(admission.check());
  TRY(broker_.catch_up());
  const std::uint64_t changes = broker_.changes();
  if (admission.decided_at() != changes && !reconsider(admission)) admission.note_decided(changes);
  TRY(admission.check());
  return broker_.check({to.scope, who.identity(), Rights::of(right), inodes_.path(to.inode)});
}

void Vfs::purge(InodeId inode) {
  xattr_cache_.drop(inode);
  auto work = [this, inode] {
    if (!admissions_.someone_has(inode)) {
      drop(inode, Kept::kCopies);
      for (const InodeId view : views_.of(inode)) drop(view, Kept::kPages);
    }
    scratch_.wipe_idle();
  };
  // Whoever answers requests must not wait for the kernel, which may be waiting for him.
  if (!dropping_.add(work))
    options_.report(Error{Code::kBusy, 0, "pages are kept for now: " + inodes_.path(inode)});
}

}  // namespace coffer
