// Files that `open` refuses, for those who look into damage.

#include <algorithm>
#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// What the slots that can be read say of themselves, the one that counts first. Where a damaged
/// one leads nowhere, the other may.
struct Claims {
  RawHeader raw;
  std::vector<FileHeader> headers;
  std::optional<Error> none;  ///< why there are none
};

bool same_key(const FileHeader& one, const FileHeader& other) {
  return one.store == other.store && one.scope == other.scope && one.file == other.file &&
         one.dek_version == other.dek_version && one.suite == other.suite;
}

/// Fails where it can't be said: the disk does not answer, or a newer program made it.
Result<Claims> read_claims(const BackingFile& backing) {
  Claims claims;
  auto raw = read_raw_header(backing);
  auto first = raw ? peek_header(*raw) : Result<FileHeader>(raw.error());
  if (!first) {
    if (first.error().code != Code::kCorrupt) return std::move(first).error();
    claims.none = std::move(first).error();
    return claims;
  }
  claims.raw = *raw;
  claims.headers = {std::move(*first)};
  for (const Block& slot : raw->slots) {
    auto other = decode_header(slot);
    if (other && !same_key(*other, claims.headers.front()))
      claims.headers.push_back(std::move(*other));
  }
  return claims;
}

}  // namespace

Result<Vfs::Inspected> Vfs::inspect(const Who& who, InodeId inode, Right right) {
  std::optional<Inspected> inspected;
  TRY(at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    const AccessRequest access{spot.directory->scope, who.identity(), Rights::of(right), spot.path};
    TRY(broker_.check(access));  // whoever may not have the file is told no more than that
    BackingFile backing = TRY(spot.backing().open_file(spot.stored.text, right == Right::kWrite));
    if (!S_ISREG(TRY(backing.status()).st_mode)) return errno_error(EINVAL, spot.path);
    const Claims claims = TRY(read_claims(backing));
    inspected = claims.none.has_value()
                    ? Inspected{.content = nullptr, .objection = claims.none}
                    : TRY(open_first(std::move(backing), claims.raw, claims.headers, access));
    if (inspected->content == nullptr) return {};
    inspected->at_its_place = inspected->content->has_binding(
        spot.names->bind_file(inspected->content->keys().file, spot.directory->id, spot.name));
    if (!inspected->at_its_place && !inspected->objection.has_value()) {
      inspected->objection = file_moved();
    }
    return {};
  }));
  return std::move(*inspected);
}

Result<Vfs::Inspected> Vfs::inspect_backing(const Who& who, const BackingDir& dir,
                                            const std::string& stored, std::string_view shown) {
  BackingFile backing = TRY(dir.open_file(stored, false));
  if (!S_ISREG(TRY(backing.status()).st_mode)) return errno_error(EINVAL, std::string(shown));
  const Claims claims = TRY(read_claims(backing));
  if (claims.none.has_value()) return Inspected{.content = nullptr, .objection = claims.none};
  const AccessRequest access{claims.headers.front().scope, who.identity(), Rights::of(Right::kRead),
                             shown};
  TRY(broker_.check(access));
  return open_first(std::move(backing), claims.raw, claims.headers, access);
}

Result<Vfs::Inspected> Vfs::open_first(BackingFile backing, const RawHeader& raw,
                                       const std::vector<FileHeader>& claims,
                                       const AccessRequest& access) {
  std::optional<Error> first_error;
  std::optional<Inspected> nothing;
  for (const FileHeader& claim : claims) {
    auto found = open_claimed(backing, raw, claim, access);
    if (found && found->content != nullptr) {
      // `open` goes by the first header alone.
      if (first_error.has_value()) found->objection = first_error;
      if (nothing.has_value()) found->objection = nothing->objection;
      return found;
    }
    if (!found && !first_error.has_value()) first_error = found.error();
    if (found && !nothing.has_value()) nothing = std::move(*found);
  }
  if (first_error.has_value()) return *first_error;
  return std::move(*nothing);
}

Result<Vfs::Inspected> Vfs::open_claimed(BackingFile& backing, const RawHeader& raw,
                                         const FileHeader& claim, const AccessRequest& access) {
  TRY(check_scope(claim, access.scope));
  const auto [dek, keys, generations] = TRY(release_key(claim, access, DekUse::kRecovery));
  Inspected found;
  found.key_state = dek.state;
  found.recorded_generation = dek.generation;
  if (auto holds = HeaderSlots::open(raw, *keys, store_); !holds) {
    found.objection = std::move(holds).error();
    return found;
  }
  found.content =
      TRY(EncryptedFile::open_damaged(content_, std::move(backing), raw, keys, generations));
  if (dek.state == KeyState::kDeactivated) {
    found.objection = Error{Code::kRevoked, EKEYREVOKED,
                            "the file was deleted, and put back in the backing directory"};
  } else if (TRY(found.content->missing_bytes()) > 0) {
    found.objection =
        Error{Code::kCorrupt, EIO, "the backing file is shorter than its header says: it was cut"};
  } else if (found.content->chunk_log2() != TRY(chunk_log2(access.scope))) {
    found.objection = Error{Code::kCorrupt, EIO, "the file's chunk size is not its scope's"};
  } else if (auto recorded = check_recorded(found.content->committed(), dek); !recorded) {
    found.objection = std::move(recorded).error();
  }
  return found;
}

}  // namespace coffer
