// From inodes to backing directories and names.

#include <algorithm>
#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// How often a place is looked up again because it was renamed under the operation.
constexpr int kPlaceAttempts = 16;

bool may_have_moved(const Error& error) {
  return error.code == Code::kNotFound || error.code == Code::kMoved || error.errno_value == ESTALE;
}

}  // namespace

Result<std::shared_ptr<const ScopeNames>> Vfs::names_for(const Who& who, ScopeId scope,
                                                         const std::string& path) {
  if (auto held = names_.held(scope)) return held;
  return names_.look_up(who, scope, Right::kList, path);
}

Result<std::shared_ptr<const Directory>> Vfs::directory(const Who& who, InodeId inode) {
  if (auto cached = directories_.find(inode)) return cached;
  auto opened = TRY(open_directory_of(who, inode));
  directories_.put(inode, opened);
  return opened;
}

Result<std::shared_ptr<const Directory>> Vfs::open_directory_of(const Who& who, InodeId inode) {
  if (inode == kRootInode) return authenticate(who, "/", root_, nullptr, "");
  std::shared_ptr<const Directory> opened;
  if (inodes_.has_several_places(inode)) {
    TRY(check_places(who, inode, [&](const Spot& spot) -> Result<void> {
      auto there = TRY(spot.backing().open_dir(spot.stored.text));
      TRY(authenticate(who, spot.path, std::move(there), spot.directory.get(), spot.name));
      return {};
    }));
  }
  TRY(at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    auto backing = TRY(spot.backing().open_dir(spot.stored.text));
    const auto known = inodes_.find(inode);
    if (!known.has_value() || backing_id(TRY(backing->status())) != known->backing)
      return errno_error(ESTALE);
    opened = TRY(authenticate(who, spot.path, std::move(backing), spot.directory.get(), spot.name));
    return {};
  }));
  return opened;
}

Result<std::shared_ptr<const Directory>> Vfs::authenticate(
    const Who& who, const std::string& path, std::shared_ptr<const BackingDir> backing,
    const Directory* parent, std::string_view name) {
  auto read = read_directory_block(*backing);
  if (!read && read.error().errno_value == EACCES) {
    return Error{Code::kDenied, 0,
                 path + ": its mode closes the backing directory to this user; run: chmod u+rx"};
  }
  const ByteVector block = TRY(std::move(read));
  const DirectoryRecord claimed = TRY(decode_directory(block));
  if (claimed.store != store_) {
    return Error{Code::kMoved, EIO, path + ": the directory belongs to another store"};
  }
  TRY(check_scope_claim(claimed, parent));
  const auto names = TRY(names_for(who, claimed.scope, path));
  const DirectoryRecord record = TRY(names->open_directory(block));
  const Binding here =
      names->bind_directory(record.dir, parent != nullptr ? parent->id : DirId{}, name);
  if (std::find(record.bindings.begin(), record.bindings.end(), here) == record.bindings.end()) {
    return Error{Code::kMoved, EIO,
                 path + ": the directory was moved or renamed in the backing directory"};
  }
  return std::make_shared<const Directory>(
      Directory{.backing = std::move(backing), .id = record.dir, .scope = record.scope});
}

/// A directory is in its parent's scope or the root of its own, as the keystore has it.
Result<void> Vfs::check_scope_claim(const DirectoryRecord& record, const Directory* parent) {
  if (parent != nullptr && record.scope == parent->scope) return {};
  const auto policy = TRY(broker_.policy());
  const ScopeRow* const scope = policy->scope(record.scope);
  if (scope == nullptr || scope->root_dir != record.dir) {
    return Error{Code::kMoved, EIO, "the directory claims a scope that is not its own"};
  }
  return {};
}

Result<Vfs::Spot> Vfs::spot(const Who& who, InodeId parent, std::string_view name, Right right) {
  if (name.size() > kMaxNameLength) return errno_error(ENAMETOOLONG);
  // The kernel asks for none of these; with plain names they would lead elsewhere.
  if (name == "." || name == ".." || name.find_first_of({"/\0", 2}) != std::string_view::npos) {
    return errno_error(EINVAL);
  }
  auto dir = TRY(directory(who, parent));
  std::string path = inodes_.path(parent, name);
  auto looked_up = names_.look_up(who, dir->scope, right, path);
  if (!looked_up && right == Right::kList) return hide(dir->scope, std::move(looked_up).error());
  auto names = TRY(std::move(looked_up));
  StoredText stored = TRY(names->encode_name(dir->id, name));
  return Spot{.directory = std::move(dir),
              .names = std::move(names),
              .parent = parent,
              .name = std::string(name),
              .stored = std::move(stored),
              .path = std::move(path)};
}

Result<Vfs::Spot> Vfs::spot_of(const Who& who, const Place& place) {
  auto dir = TRY(directory(who, place.parent));
  std::string path = inodes_.path(place.parent, place.name);
  auto names = TRY(names_for(who, dir->scope, path));
  return Spot{.directory = std::move(dir),
              .names = std::move(names),
              .parent = place.parent,
              .name = place.name,
              .stored = StoredText{.text = place.stored, .sidecar = {}},
              .path = std::move(path)};
}

Result<void> Vfs::at_place(const Who& who, InodeId inode,
                           const std::function<Result<void>(const Spot&)>& use) {
  std::optional<InodeTable::Known> tried;
  Result<void> outcome = errno_error(ESTALE);
  for (int attempt = 0; attempt < kPlaceAttempts; ++attempt) {
    std::optional<InodeTable::Known> known;
    {
      // A rename under way changes backing and table together, as far as this sees.
      ReadLock lock(moving_);
      known = inodes_.find(inode);
    }
    if (!known.has_value() || !known->place.has_value()) return errno_error(ESTALE);
    if (tried == known) return outcome;
    tried = known;
    auto spot = spot_of(who, *known->place);
    outcome = spot ? use(*spot) : Result<void>(std::move(spot).error());
    if (outcome || !may_have_moved(outcome.error())) return outcome;
  }
  return outcome;
}

Result<void> Vfs::check_places(const Who& who, InodeId inode,
                               const std::function<Result<void>(const Spot&)>& check) {
  const auto known = inodes_.find(inode);
  if (!known.has_value()) return {};
  for (const Place& place : inodes_.places(inode)) {
    const auto spot = spot_of(who, place);
    if (!spot) continue;  // nothing can be looked up there
    auto checked = check(*spot);
    if (checked) continue;
    // One that it was renamed or removed from, by another program, is forgotten some day.
    const auto status = spot->backing().status_of(place.stored);
    if (status && backing_id(*status) == known->backing) return checked;
  }
  return {};
}

Result<void> Vfs::rewrite_record(const Directory& directory, const ScopeNames& names,
                                 const std::function<Result<void>(DirectoryRecord&)>& change) {
  MutexLock lock(records_);
  const struct stat before = TRY(directory.backing->status());
  DirectoryRecord record = TRY(read_directory_record(*directory.backing, names));
  TRY(change(record));
  ++record.generation;
  TRY(write_directory_block(*directory.backing, names.seal_directory(record)));
  // Replacing the record touched the directory; its times are its entries'.
  const struct timespec times[2] = {before.st_atim, before.st_mtim};
  return directory.backing->set_times(".", times);
}

Result<Suite> Vfs::scope_suite(ScopeId scope) const {
  const auto policy = TRY(broker_.policy());
  const ScopeRow* const row = policy->scope(scope);
  if (row == nullptr) return Error{Code::kKeyUnavailable, ENOKEY, "the keystore has no such scope"};
  return row->settings.suite;
}

Result<unsigned> Vfs::chunk_log2(ScopeId scope) const {
  const auto policy = TRY(broker_.policy());
  const ScopeRow* const row = policy->scope(scope);
  if (row == nullptr) return Error{Code::kKeyUnavailable, ENOKEY, "the keystore has no such scope"};
  return row->settings.chunk_log2;
}

}  // namespace coffer
