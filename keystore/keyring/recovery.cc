#include "keystore/keyring/recovery.h"

#include <algorithm>

#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::string_view kInfo = "coffer/1/recovery";
constexpr std::uint8_t kFormat = 1;

std::string row_name(MasterId id) { return "recovery:" + std::to_string(id.value); }

}  // namespace

Result<std::optional<RecoveryKey>> select_recovery(Database& database) {
  auto master = TRY(select_master(database, MasterRole::kRecovery));
  if (!master) return std::optional<RecoveryKey>();
  const ByteVector row = TRY(read_meta(database, row_name(master->id)));
  RecoveryKey key;
  if (row.size() <= 1 + key.public_key.size() || row[0] != kFormat)
    return Error{Code::kCorrupt, 0, "keystore: malformed recovery key"};
  std::copy_n(row.begin() + 1, key.public_key.size(), key.public_key.begin());
  key.wrapped.assign(row.begin() + 1 + static_cast<std::ptrdiff_t>(key.public_key.size()),
                     row.end());
  key.master = *std::move(master);
  return std::optional<RecoveryKey>(std::move(key));
}

Result<void> write_recovery(Database& database, MasterId id, const HpkePublicKey& public_key,
                            Bytes wrapped) {
  return write_meta(database, row_name(id),
                    ByteWriter().le(kFormat).bytes(public_key).bytes(wrapped).take());
}

Result<void> delete_recovery(Database& database, MasterId id) {
  Statement statement = TRY(database.prepare("DELETE FROM meta WHERE name = ?1;"));
  TRY(statement.start(row_name(id)).run());
  return delete_standby(database, id);
}

Result<ByteVector> seal_copy(const HpkePublicKey& public_key, const KeyContext& context,
                             const SecretBytes& key) {
  const ByteVector sealed = TRY(hpke_seal(public_key, kInfo, context.encode(), key.expose()));
  return ByteWriter().le(kFormat).bytes(sealed).take();
}

Result<std::unique_ptr<RecoveredKms>> RecoveredKms::open(MasterKms& recovery,
                                                         const RecoveryKey& key, StoreId store,
                                                         MasterKeyRecord primary) {
  SecretBytes private_key = TRY(recovery.unwrap(key.wrapped, KeyContext::of_recovery_key(store)));
  if (hpke_public_key(private_key) != key.public_key)
    return Error{Code::kCorrupt, 0, "keystore: the recovery key was altered"};
  return std::unique_ptr<RecoveredKms>(
      new RecoveredKms(std::move(private_key), std::move(primary)));
}

Result<ByteVector> RecoveredKms::wrap(const SecretBytes& /*key*/, const KeyContext& /*context*/) {
  return Error{Code::kUnsupported, 0, "a store that is opened by its recovery key makes no keys"};
}

Result<SecretBytes> RecoveredKms::unwrap(Bytes wrapped, const KeyContext& context) {
  if (wrapped.empty()) {
    return Error{Code::kNotFound, 0, "there is no copy of this key for the recovery master key"};
  }
  if (wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  return check_unwrapped(TRY(hpke_open(private_key_, kInfo, context.encode(), wrapped.subspan(1))));
}

}  // namespace coffer
