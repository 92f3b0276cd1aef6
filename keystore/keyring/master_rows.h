#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "keystore/crypto/digest.h"
#include "keystore/db/database.h"
#include "keystore/keyring/rows.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

// The SQL of master keys, of what they wrap, and of copies (keystore/FORMAT.md, "Another master
// key"). Each runs within the caller's transaction.

struct MasterId {
  std::uint32_t value = 0;
  bool operator==(const MasterId&) const = default;
};

/// What a master key is to the store: the one that wraps its keys, the one that it is on its way
/// to, the one that is kept for the day the first is lost, or one of before.
enum class MasterRole : std::uint8_t { kPrimary, kNext, kRecovery, kFormer };
std::string_view to_string(MasterRole role);

struct MasterRow {
  MasterId id;
  MasterKeyRecord record;
  MasterRole role = MasterRole::kFormer;
  std::int64_t created_at = 0;
};

/// As the primary.
Result<void> insert_master(Database& database, const MasterKeyRecord& master, std::int64_t now);
Result<MasterKeyRecord> select_active_master(Database& database);

Result<std::vector<MasterRow>> select_masters(Database& database);
/// Of the master key that has this role; nothing if none has.
Result<std::optional<MasterRow>> select_master(Database& database, MasterRole role);
/// A master key that stands by, of role kNext or kRecovery.
Result<MasterId> insert_standby(Database& database, const MasterKeyRecord& master, MasterRole role,
                                std::int64_t now);
/// With its copies, but for those of file keys.
Result<void> delete_standby(Database& database, MasterId id);
/// The one that stands by as `next` is the primary from now on.
Result<void> make_primary(Database& database, MasterId next);

/// A key that the primary wraps.
struct WrappedKey {
  KeyContext context;
  ByteVector wrapped;
};

/// The policy key and all KEKs.
Result<std::vector<WrappedKey>> select_wrapped(Database& database, StoreId store);
/// kCorrupt unless `context` is a policy key's or a KEK's.
Result<void> update_wrapped(Database& database, const KeyContext& context, Bytes wrapped);
/// Nothing if there is no copy.
Result<std::optional<ByteVector>> select_copy(Database& database, MasterId id,
                                              const KeyContext& context);
Result<void> write_copy(Database& database, MasterId id, const KeyContext& context, Bytes wrapped);

/// True if a scope has its file keys wrapped by the master key itself.
Result<bool> has_direct_scopes(Database& database);
/// Where among all file keys one is.
struct DekPlace {
  ByteVector file;
  std::uint32_t version = 0;
};
struct WrappedDek {
  WrappedKey key;
  ByteVector copy;  ///< empty if there is none, or one that somebody else has put there
};
/// Up to `most` keys of files that the primary wraps, in their order, after that place (which is
/// moved), with the copies for a master key.
Result<std::vector<WrappedDek>> select_wrapped_deks(Database& database, StoreId store,
                                                    const HmacKey& records, MasterId copies_of,
                                                    std::size_t most, DekPlace& after);
Result<std::uint64_t> count_wrapped_deks(Database& database);
/// In place of `deks[i]`, unless another wrapped key stands there now, `wrapped[i]`.
Result<void> update_wrapped_deks(Database& database, std::span<const WrappedDek> deks,
                                 std::span<const ByteVector> wrapped);

/// The table of copies of file keys, if it is not there yet.
Result<void> create_dek_copies(Database& database);
Result<bool> has_dek_copies(Database& database);
Result<void> write_dek_copy(Database& database, const HmacKey& records, MasterId id,
                            const KeyContext& context, Bytes wrapped);
/// Nothing if there is none, or one that somebody else has put there.
Result<std::optional<ByteVector>> select_dek_copy(Database& database, const HmacKey& records,
                                                  MasterId id, const KeyContext& context);
/// Of keys that are removed.
Result<void> delete_dek_copies_of(Database& database, std::span<const FileId> files);
/// Up to `most` of those for master keys that do not stand by any more; how many there were.
Result<std::uint64_t> delete_stale_dek_copies(Database& database, std::size_t most);

}  // namespace coffer
