// By which numbers the kernel knows files, whose pages it so keeps together, and how one who knows
// a file by one number finds what was changed by way of another.

#include "fs/vfs/vfs.h"

namespace coffer {

bool Vfs::sets_apart(mode_t mode) {
  if (!options_.for_kernel || !S_ISREG(mode)) return false;
  if (options_.read_only) return true;
  const auto policy = broker_.policy();
  return !policy || (*policy)->some_only_read();
}

Audience Vfs::audience_for(const Identity& who, ScopeId scope) {
  if (!options_.read_only && broker_.is_granted(scope, who, Right::kWrite)) return kEveryone;
  return audiences_.of(who);
}

void Vfs::take_view(const Identity& who, ScopeId scope, Entry& entry) {
  const Audience audience = audience_for(who, scope);
  if (audience == kEveryone) return;
  const InodeId inode = entry.inode;
  const Views::Found found = views_.of(inode, audience);
  if (!found.is_new) inodes_.forget(inode, 1);
  entry.inode = found.view;
  // The kernel moves size and times by itself, but of the number alone that a change came by.
  entry.attributes_hold &= options_.read_only;
}

void Vfs::forget(InodeId known_as, std::uint64_t references) {
  InodeId inode = known_as;
  if (Views::is_view(known_as)) {
    const auto file = views_.forget(known_as, references);
    if (!file.has_value()) return;
    inode = *file;
    references = 1;
  }
  if (!inodes_.forget(inode, references)) return;
  directories_.drop(inode);
  removed_nodes_.drop(inode);
}

Result<ScopeId> Vfs::scope_of(const Who& who, InodeId inode) {
  if (const auto open = files_.find(inode)) return open->content().keys().scope;
  const auto known = inodes_.find(inode);
  if (!known.has_value() || !known->place.has_value()) return errno_error(ESTALE);
  return TRY(directory(who, known->place->parent))->scope;
}

Result<bool> Vfs::check_view(const Who& who, InodeId known_as) {
  if (!sets_apart(S_IFREG) && !Views::is_view(known_as)) return true;
  const InodeId inode = views_.file(known_as);
  const auto known = inodes_.find(inode);
  if (!known.has_value() || !S_ISREG(known->type)) return true;
  const ScopeId scope = options_.read_only ? kRootScope : TRY(scope_of(who, inode));
  const Audience audience = audience_for(who.identity(), scope);
  if (views_.audience(known_as) == audience) return true;
  if (audiences_.insists(who.thread(), known_as)) return false;
  return errno_error(ESTALE, "others know the file by this");
}

Result<InodeId> Vfs::to_change(const Who& who, InodeId known_as) {
  if (!Views::is_view(known_as)) return known_as;
  const InodeId inode = views_.file(known_as);
  if (audience_for(who.identity(), TRY(scope_of(who, inode))) == kEveryone)
    return errno_error(ESTALE, "others know the file by this");
  return inode;  // he will be refused
}

void Vfs::drop_then(InodeId file, std::vector<InodeId> older, std::function<void()> answer) {
  // The kernel may have to wait for reads of these pages, which those who answer requests are to
  // answer meanwhile. It never waits for a write: what is written to is no view.
  auto work = [this, older = std::move(older), answer = std::move(answer)] {
    for (const InodeId view : older) drop(view, Kept::kPages);
    answer();
  };
  (void)showing_.at(file.value % kShowing).add(std::move(work));
}

void Vfs::end_page_cache() {
  page_cache_ends_ = true;
  for (Background& showing : showing_) showing.drain();
  dropping_.drain();
}

}  // namespace coffer
