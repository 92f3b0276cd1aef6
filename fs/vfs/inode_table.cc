#include "fs/vfs/inode_table.h"

#include <algorithm>

namespace coffer {

InodeTable::InodeTable(BackingId root) {
  WriteLock lock(mutex_);
  inodes_[kRootInode] =
      Inode{.backing = root, .type = S_IFDIR, .references = 1, .children = 0, .places = {}};
  by_backing_[root] = kRootInode;
}

InodeId InodeTable::remember(BackingId backing, mode_t type, const Place& place) {
  WriteLock lock(mutex_);
  const auto known = by_backing_.find(backing);
  if (known != by_backing_.end()) {
    Inode& inode = inodes_.at(known->second);
    // A backing inode number that was freed and given to an object of another type is another
    // object.
    if (inode.type == type) {
      ++inode.references;
      const auto at = std::find(inode.places.begin(), inode.places.end(), place);
      if (at == inode.places.end()) {
        add_place(inode, place);
      } else {
        std::rotate(inode.places.begin(), at, at + 1);
      }
      return known->second;
    }
    by_backing_.erase(known);
  }
  const InodeId id{next_id_++};
  Inode& inode = inodes_[id];
  inode.backing = backing;
  inode.type = type;
  inode.references = 1;
  by_backing_[backing] = id;
  add_place(inode, place);
  return id;
}

bool InodeTable::hold(InodeId id) {
  WriteLock lock(mutex_);
  const auto found = inodes_.find(id);
  if (found == inodes_.end()) return false;
  ++found->second.references;
  return true;
}

bool InodeTable::forget(InodeId id, std::uint64_t references) {
  WriteLock lock(mutex_);
  const auto found = inodes_.find(id);
  if (found == inodes_.end()) return true;
  found->second.references -= std::min(references, found->second.references);
  release_if_unused(id);
  return !inodes_.contains(id);
}

bool InodeTable::note_opened(InodeId id, FileId file, std::uint64_t generation) {
  WriteLock lock(mutex_);
  const auto found = inodes_.find(id);
  return found != inodes_.end() && found->second.shown.open(file, generation);
}

void InodeTable::note_changed(InodeId id, std::uint64_t generation) {
  WriteLock lock(mutex_);
  const auto found = inodes_.find(id);
  if (found != inodes_.end()) found->second.shown.change(generation);
}

std::uint64_t InodeTable::noted_generation(InodeId id, FileId file) const {
  ReadLock lock(mutex_);
  const auto found = inodes_.find(id);
  if (found == inodes_.end() || found->second.shown.file != file) return 0;
  return found->second.shown.generation;
}

void InodeTable::release_if_unused(InodeId id) {
  // Up the chain: the last child of a directory that the kernel forgot before lets it go.
  while (id != kRootInode) {
    const auto found = inodes_.find(id);
    if (found == inodes_.end() || found->second.references > 0 || found->second.children > 0)
      return;
    std::vector<InodeId> parents;
    for (const Place& place : found->second.places) parents.push_back(place.parent);
    if (const auto known = by_backing_.find(found->second.backing);
        known != by_backing_.end() && known->second == id) {
      by_backing_.erase(known);
    }
    inodes_.erase(found);
    for (const InodeId parent : parents) {
      if (const auto above = inodes_.find(parent); above != inodes_.end()) --above->second.children;
    }
    if (parents.empty()) return;
    for (std::size_t i = 1; i < parents.size(); ++i) release_if_unused(parents[i]);
    id = parents[0];
  }
}

void InodeTable::add_place(Inode& inode, const Place& place) {
  inode.places.insert(inode.places.begin(), place);
  if (const auto parent = inodes_.find(place.parent); parent != inodes_.end())
    ++parent->second.children;
}

void InodeTable::remove_place(Inode& inode, std::size_t index) {
  const InodeId parent = inode.places[index].parent;
  inode.places.erase(inode.places.begin() + static_cast<std::ptrdiff_t>(index));
  if (const auto above = inodes_.find(parent); above != inodes_.end()) {
    --above->second.children;
    release_if_unused(parent);
  }
}

std::optional<InodeTable::Known> InodeTable::find(InodeId id) const {
  ReadLock lock(mutex_);
  const auto found = inodes_.find(id);
  if (found == inodes_.end()) return std::nullopt;
  Known known{.backing = found->second.backing, .type = found->second.type, .place = {}};
  if (!found->second.places.empty()) known.place = found->second.places.front();
  return known;
}

bool InodeTable::has_several_places(InodeId id) const {
  ReadLock lock(mutex_);
  const auto found = inodes_.find(id);
  return found != inodes_.end() && found->second.places.size() > 1;
}

std::vector<Place> InodeTable::places(InodeId id) const {
  ReadLock lock(mutex_);
  const auto found = inodes_.find(id);
  return found == inodes_.end() ? std::vector<Place>() : found->second.places;
}

std::optional<InodeId> InodeTable::find(BackingId backing) const {
  ReadLock lock(mutex_);
  const auto known = by_backing_.find(backing);
  if (known == by_backing_.end()) return std::nullopt;
  return known->second;
}

void InodeTable::drop_place(BackingId backing, InodeId parent, std::string_view name, bool last) {
  WriteLock lock(mutex_);
  const auto known = by_backing_.find(backing);
  if (known == by_backing_.end()) return;
  const InodeId id = known->second;
  Inode& inode = inodes_.at(id);
  for (std::size_t i = 0; i < inode.places.size(); ++i) {
    if (inode.places[i].parent != parent || inode.places[i].name != name) continue;
    remove_place(inode, i);
    break;
  }
  if (last) {
    // The backing number of a deleted object may be given to a new one while the kernel still holds
    // this inode.
    while (!inode.places.empty()) remove_place(inode, 0);
    by_backing_.erase(backing);
  }
  release_if_unused(id);
}

void InodeTable::move_place(BackingId backing, const Place& from, const Place& to) {
  WriteLock lock(mutex_);
  const auto known = by_backing_.find(backing);
  if (known == by_backing_.end()) return;
  Inode& inode = inodes_.at(known->second);
  for (std::size_t i = 0; i < inode.places.size(); ++i) {
    if (!(inode.places[i] == from)) continue;
    add_place(inode, to);
    remove_place(inode, i + 1);
    return;
  }
}

void InodeTable::replace_backing(BackingId old_backing, BackingId new_backing) {
  WriteLock lock(mutex_);
  const auto known = by_backing_.find(old_backing);
  if (known == by_backing_.end()) return;
  const InodeId id = known->second;
  by_backing_.erase(known);
  inodes_.at(id).backing = new_backing;
  by_backing_[new_backing] = id;
}

std::string InodeTable::path(InodeId id) const {
  ReadLock lock(mutex_);
  std::vector<std::string_view> parts;
  while (id != kRootInode) {
    const auto found = inodes_.find(id);
    if (found == inodes_.end() || found->second.places.empty()) {
      parts.emplace_back("(deleted)");
      break;
    }
    // Directories that were moved into one another in the backing would lead round in a circle.
    if (parts.size() > inodes_.size()) break;
    parts.emplace_back(found->second.places.front().name);
    id = found->second.places.front().parent;
  }
  if (parts.empty()) return "/";
  std::string path;
  std::reverse(parts.begin(), parts.end());
  for (const std::string_view part : parts) path.append("/").append(part);
  return path;
}

std::string InodeTable::path(InodeId directory, std::string_view name) const {
  std::string above = path(directory);
  if (above != "/") above += "/";
  return above.append(name);
}

std::size_t InodeTable::size() const {
  ReadLock lock(mutex_);
  return inodes_.size();
}

std::vector<InodeId> InodeTable::all() const {
  ReadLock lock(mutex_);
  std::vector<InodeId> ids;
  ids.reserve(inodes_.size());
  for (const auto& [id, inode] : inodes_) ids.push_back(id);
  return ids;
}

std::vector<Place> InodeTable::all_places() const {
  ReadLock lock(mutex_);
  std::vector<Place> places;
  for (const auto& [id, inode] : inodes_)
    places.insert(places.end(), inode.places.begin(), inode.places.end());
  return places;
}

}  // namespace coffer
