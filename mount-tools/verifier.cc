// What the names of a store lead to, and what lies there beside them. Contents and keys are in
// verify_files.cc.

#include "mount-tools/verifier.h"

#include <algorithm>

#include "fs/names/stored.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/parallel.h"

namespace coffer {

Verifier::Verifier(OpenStore& store, Progress& progress)
    : store_(store), vfs_(store.vfs()), progress_(progress), caller_(Caller::self()) {}

Result<VerifyReport> Verifier::run(const std::string& path) {
  const Who who = vfs_.who(caller_);
  journals_ = journals();
  sidecars_ = sidecars();
  scan(who, path);
  progress_.expect(expected_bytes_, files_.size());
  for_each_in_parallel(files_.size(), [&](std::size_t i) {
    verify_file(files_[i]);
    progress_.add_file();
    return true;
  });
  if (path == "/") {
    scan_private(who);
    if (!refused_) {
      TRY(check_keys());
      check_journals();
      check_sidecars();
    }
  }
  // Not in the order in which threads came upon them.
  const auto by_place = [](const Finding& a, const Finding& b) {
    return std::tie(a.path, a.backing) < std::tie(b.path, b.backing);
  };
  std::stable_sort(report_.findings.begin(), report_.findings.end(), by_place);
  std::stable_sort(report_.notes.begin(), report_.notes.end(), by_place);
  report_.files = files_.size();
  report_.bytes = progress_.bytes();
  return std::move(report_);
}

void Verifier::note(Finding finding) {
  MutexLock lock(mutex_);
  const bool harmless = finding.kind >= FindingKind::kOrphan;
  // Where something was kept back, or a keystore is not the one that knows the files, what is
  // missing says nothing.
  if (is_refusal(finding.cause)) refused_ = true;
  (harmless ? report_.notes : report_.findings).push_back(std::move(finding));
}

void Verifier::scan(const Who& who, const std::string& path) {
  const auto steps = steps_to(vfs_, who, path);
  const auto found = steps ? find_path(vfs_, who, path) : Result<Found>(steps.error());
  const Place top{.path = "/", .backing = ".", .id = {}, .names = nullptr};
  if (steps && steps->empty()) {
    scan_directory(who, top, "/", ".", kRootInode);
    return;
  }
  // The last step's damage is looked into; that of those before leaves nothing to look at.
  const bool reached = steps && (found || found.error().code == Code::kCorrupt);
  if (!reached) {
    note({.kind = path == "/" ? FindingKind::kDirectory : FindingKind::kFile,
          .cause = found.error().code,
          .path = path,
          .message = found.error().message()});
    refused_ = true;
    return;
  }
  const std::vector<BackingStep> above(steps->begin(), steps->end() - 1);
  const auto place = std::make_shared<const Place>(Place{.path = plain_path(above),
                                                         .backing = backing_path(above),
                                                         .id = steps->back().directory,
                                                         .names = steps->back().names});
  const auto parent = find_path(vfs_, who, place->path);
  if (parent) scan_entry(who, place, parent->inode.get(), steps->back().name);
}

void Verifier::scan_entry(const Who& who, const std::shared_ptr<const Place>& place, InodeId parent,
                          const std::string& name) {
  const std::string path = join_path(place->path, name);
  const auto entry = vfs_.lookup(who, parent, name);
  if (!entry && entry.error().code == Code::kCorrupt) {
    files_.push_back({place, name, entry.error().message()});
    return;
  }
  // Removed since it was listed; or a name whose file had not reached the disk before a crash, and
  // that the lookup has dropped.
  if (!entry && entry.error().code == Code::kNotFound) return;
  if (!entry) {
    note({.cause = entry.error().code, .path = path, .message = entry.error().message()});
    return;
  }
  const InodeRef ref(vfs_, entry->inode);
  if (S_ISREG(entry->attributes.st_mode)) {
    files_.push_back({place, name, ""});
    expected_bytes_ += static_cast<std::uint64_t>(entry->attributes.st_size);
  } else if (S_ISLNK(entry->attributes.st_mode)) {
    if (const auto target = vfs_.read_symlink(who, ref.get()); !target)
      look_into_symlink(who, *place, parent, name, target.error());
  } else if (S_ISDIR(entry->attributes.st_mode)) {
    if (const auto stored = place->names->encode_name(place->id, name))
      scan_directory(who, *place, path, join_backing(place->backing, stored->text), ref.get());
  }
}

void Verifier::scan_directory(const Who& who, const Place& above, const std::string& path,
                              const std::string& backing, InodeId inode) {
  auto opened = vfs_.open_directory(who, inode);
  auto listing = opened ? list(vfs_, **opened) : Result<Listing>(opened.error());
  if (!listing) {
    note({.kind = FindingKind::kDirectory,
          .cause = listing.error().code,
          .path = path,
          .backing = backing,
          .message = listing.error().message(),
          .scope = above.names != nullptr ? above.names->scope() : kRootScope});
    all_directories_known_ = false;
    if (const auto dir = open_backing_dir(vfs_.backing_root(), backing))
      claim_below(**dir, backing, FindingKind::kDirectory);
    return;
  }
  ++report_.directories;
  if (const auto attributes = vfs_.xattr_names(who, inode); !attributes) {
    note({.kind = FindingKind::kAttributes,
          .cause = attributes.error().code,
          .path = path,
          .backing = backing,
          .message = attributes.error().message(),
          .scope = (*opened)->admission->names()->scope()});
  }
  vouches(**opened);
  const auto place = std::make_shared<const Place>(Place{.path = path,
                                                         .backing = backing,
                                                         .id = (*opened)->directory->id,
                                                         .names = (*opened)->admission->names()});
  for (const auto& [stored, type] : listing->foreign)
    check_foreign(who, **opened, *place, stored, type);
  check_own_files(**opened, *place, *listing);
  // No descriptor is held while what is below is looked at.
  opened->reset();
  for (const std::string& name : listing->names) scan_entry(who, place, inode, name);
}

Result<Verifier::Listing> Verifier::list(Vfs& vfs, DirectoryHandle& handle) {
  Listing listing;
  TRY(vfs.list(
      handle, 0,
      [&](const ListedEntry& entry) {
        if (entry.foreign) {
          listing.foreign.emplace_back(entry.name, entry.type);
        } else if (entry.name != "." && entry.name != "..") {
          listing.names.emplace_back(entry.name);
        }
        return true;
      },
      true));
  std::sort(listing.names.begin(), listing.names.end());
  const auto reader = TRY(handle.directory->backing->reader());
  while (const auto entry = TRY(reader->next())) {
    if (entry->name.starts_with(kReservedPrefix)) listing.own.emplace_back(entry->name);
  }
  return listing;
}

void Verifier::look_into_symlink(const Who& who, const Place& place, InodeId parent,
                                 const std::string& name, const Error& refused) {
  Finding finding{.kind = FindingKind::kSymlink,
                  .cause = refused.code,
                  .path = join_path(place.path, name),
                  .message = refused.message(),
                  .scope = place.names->scope()};
  const auto stored = place.names->encode_name(place.id, name);
  const auto handle = vfs_.open_directory(who, parent);
  if (stored && handle) {
    finding.backing = join_backing(place.backing, stored->text);
    // Its own doing, and not the keystore's.
    const auto again =
        read_target(*(*handle)->directory->backing, *place.names, place.id, name, stored->text);
    finding.beyond_use = !again && again.error().code == Code::kCorrupt;
  }
  note(std::move(finding));
}

void Verifier::check_foreign(const Who& who, const DirectoryHandle& handle, const Place& place,
                             const std::string& stored, mode_t type) {
  const BackingDir& dir = *handle.directory->backing;
  Finding finding{.kind = FindingKind::kForeign,
                  .cause = Code::kCorrupt,
                  .path = place.path,
                  .backing = join_backing(place.backing, stored),
                  .message = "backing entry " + stored + " is not this directory's",
                  .scope = place.names->scope()};
  if (S_ISREG(type)) {
    claim(dir, stored, finding.backing, FindingKind::kForeign);
    const auto inspected = vfs_.inspect_backing(who, dir, stored, finding.backing);
    finding.beyond_use = inspected && inspected->content == nullptr;
    if (inspected && inspected->content != nullptr) finding.file = inspected->content->keys().file;
  } else if (S_ISLNK(type)) {
    const auto text = dir.read_symlink(stored);
    // One that can be read is another place's.
    finding.beyond_use =
        text && !place.names->decode_target(*text) && !ScopeNames::is_long_target(*text);
  } else if (S_ISDIR(type)) {
    all_directories_known_ = false;
    if (const auto below = dir.open_dir(stored))
      claim_below(**below, finding.backing, FindingKind::kForeign);
  }
  note(std::move(finding));
}

/// The format's own files beside the entries: which of them nothing needs.
void Verifier::check_own_files(const DirectoryHandle& handle, const Place& place,
                               const Listing& listing) {
  const BackingDir& dir = *handle.directory->backing;
  const std::unordered_set<std::string> there(listing.own.begin(), listing.own.end());
  std::optional<std::unordered_set<std::string>> targets;  // of the symlinks here, once wanted
  const auto is_target = [&](const std::string& sidecar) {
    if (!targets.has_value()) {
      targets.emplace();
      for (const std::string& name : listing.names) {
        const auto stored = place.names->encode_name(place.id, name);
        const auto text = stored ? dir.read_symlink(stored->text) : Result<std::string>(Error{});
        if (text) targets->insert(*text);
      }
      for (const auto& [stored, type] : listing.foreign) {
        if (const auto text = dir.read_symlink(stored)) targets->insert(*text);
      }
    }
    return targets->contains(sidecar);
  };
  for (const std::string& name : listing.own) {
    if (name == kDirectoryRecordName || ScopeNames::is_long_name(name)) continue;
    if (name == kPrivateDir && place.path == "/") continue;
    if (name.starts_with(kNameSidecarPrefix) &&
        there.contains(std::string(kLongNamePrefix) + name.substr(kNameSidecarPrefix.size())))
      continue;
    if (name.starts_with(kTargetSidecarPrefix) && is_target(name)) continue;
    note({.kind = FindingKind::kOrphan,
          .cause = Code::kNotFound,
          .path = place.path,
          .backing = join_backing(place.backing, name),
          .message = name + " belongs to no entry of this directory",
          .scope = place.names->scope()});
  }
}

}  // namespace coffer
