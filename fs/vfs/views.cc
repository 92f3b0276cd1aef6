#include "fs/vfs/views.h"

#include <algorithm>

namespace coffer {

Views::Found Views::of(InodeId file, Audience audience) {
  WriteLock lock(mutex_);
  std::vector<InodeId>& known = files_[file];
  for (const InodeId id : known) {
    View& view = views_.at(id);
    if (view.audience != audience) continue;
    ++view.references;
    return {.view = id, .is_new = false};
  }
  const InodeId id{next_++};
  View& view = views_[id];
  view.file = file;
  view.audience = audience;
  view.references = 1;
  known.push_back(id);
  any_.store(true, std::memory_order_relaxed);
  return {.view = id, .is_new = true};
}

std::optional<InodeId> Views::forget(InodeId id, std::uint64_t references) {
  WriteLock lock(mutex_);
  const auto found = views_.find(id);
  if (found == views_.end()) return std::nullopt;
  View& view = found->second;
  view.references -= std::min(references, view.references);
  if (view.references > 0) return std::nullopt;
  const InodeId file = view.file;
  views_.erase(found);
  std::vector<InodeId>& known = files_.at(file);
  std::erase(known, id);
  if (known.empty()) files_.erase(file);
  return file;
}

InodeId Views::file(InodeId inode) const {
  if (!is_view(inode)) return inode;
  ReadLock lock(mutex_);
  const auto found = views_.find(inode);
  return found == views_.end() ? kNoInode : found->second.file;
}

Audience Views::audience(InodeId inode) const {
  if (!is_view(inode)) return kEveryone;
  ReadLock lock(mutex_);
  const auto found = views_.find(inode);
  return found == views_.end() ? kEveryone : found->second.audience;
}

std::vector<InodeId> Views::all() const {
  ReadLock lock(mutex_);
  std::vector<InodeId> ids;
  ids.reserve(views_.size());
  for (const auto& [id, view] : views_) ids.push_back(id);
  return ids;
}

std::vector<InodeId> Views::of(InodeId file) const {
  if (!any()) return {};
  ReadLock lock(mutex_);
  const auto found = files_.find(file);
  return found == files_.end() ? std::vector<InodeId>() : found->second;
}

bool Views::opened(InodeId id, FileId file, std::uint64_t generation) {
  WriteLock lock(mutex_);
  const auto found = views_.find(id);
  if (found == views_.end()) return false;
  View& view = found->second;
  ++view.handles;
  view.has_pages = true;
  return view.shown.open(file, generation);
}

void Views::closed(InodeId id) {
  if (!is_view(id)) return;
  WriteLock lock(mutex_);
  const auto found = views_.find(id);
  if (found != views_.end() && found->second.handles > 0) --found->second.handles;
}

void Views::note_changed(InodeId file, std::uint64_t generation) {
  if (!any()) return;
  WriteLock lock(mutex_);
  const auto found = files_.find(file);
  if (found == files_.end()) return;
  for (const InodeId id : found->second) views_.at(id).shown.change(generation);
}

std::vector<InodeId> Views::written(InodeId file) {
  std::vector<InodeId> older;
  if (!any()) return older;
  {
    ReadLock lock(mutex_);
    if (!files_.contains(file)) return older;
  }
  WriteLock lock(mutex_);
  const auto found = files_.find(file);
  if (found == files_.end()) return older;
  for (const InodeId id : found->second) {
    View& view = views_.at(id);
    if (!view.has_pages) continue;
    older.push_back(id);
    // Who opens it from now on may find these pages, but no longer than until they are dropped.
    view.has_pages = view.handles > 0;
  }
  return older;
}

}  // namespace coffer
