// The part of the Verifier that finds sidecars of extended attributes which nothing names. Those
// that are named and no good are found with their objects.

#include "fs/vfs/directory.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/verifier.h"

namespace coffer {
namespace {

/// "ID-HASH", both in hex: the id. Nothing of another form was made by this program.
std::optional<FileId> id_in(const std::string& sidecar) {
  constexpr std::size_t kIdDigits = 2 * sizeof(FileId);
  constexpr std::size_t kHashDigits = 16;
  if (sidecar.size() != kIdDigits + 1 + kHashDigits || sidecar[kIdDigits] != '-') return {};
  const auto id = from_hex(sidecar.substr(0, kIdDigits));
  if (!id || !from_hex(sidecar.substr(kIdDigits + 1))) return {};
  return FileId::from(*id);
}

}  // namespace

/// A store that others write to has some that are no garbage: one that is written before the header
/// that names it, one of a file that is open and has no name any more.
std::unordered_set<std::string> Verifier::sidecars() const {
  std::unordered_set<std::string> found;
  if (store_.lock() == nullptr && StoreLock::is_held(store_.config().private_dir())) return found;
  for (const std::string& fan : stored_names(vfs_.backing_root(), xattr_path())) {
    for (const std::string& name :
         stored_names(vfs_.backing_root(), join_backing(xattr_path(), fan))) {
      if (const auto id = id_in(name); id && to_hex(id->view().last(1)) == fan)
        found.insert(join_backing(fan, name));
    }
  }
  return found;
}

void Verifier::vouches(Bytes id, const Hash& xattrs) {
  MutexLock lock(mutex_);
  vouched_[to_hex(id)] = all_zero(xattrs) ? "" : XattrStore::place(id, xattrs);
}

void Verifier::vouches(const DirectoryHandle& handle) {
  const auto record = read_directory_record(*handle.directory->backing, *handle.admission->names());
  if (record) return vouches(record->dir.view(), record->xattrs);
  all_directories_known_ = false;
}

/// Those that lay there at the beginning. Of an object that is damaged, or of another state than
/// the one on record, each may be wanted yet. For a run over the whole store.
void Verifier::check_sidecars() {
  // Whoever began to write meanwhile may have changed what was read before.
  const std::unordered_set<std::string> now = sidecars();
  const bool all_known = report_.all_files_known && all_directories_known_;
  for (const std::string& sidecar : sidecars_) {
    const FileId id = *id_in(split_backing(sidecar).second);
    const auto vouched = vouched_.find(id.hex());
    const bool is_garbage = vouched != vouched_.end()
                                ? vouched->second != sidecar
                                : all_known && !seen_.contains(id) && !misplaced_.contains(id);
    if (!is_garbage || !now.contains(sidecar)) continue;
    note({.kind = FindingKind::kSidecar,
          .cause = Code::kNotFound,
          .backing = join_backing(xattr_path(), sidecar),
          .message = "a crash left it: extended attributes that no file and no directory has",
          .scope = kRootScope});
  }
}

}  // namespace coffer
