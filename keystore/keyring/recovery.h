#pragma once

#include <optional>

#include "keystore/crypto/hpke.h"
#include "keystore/keyring/master_rows.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// What copies are sealed to, so that a store whose master key is lost is not (keystore/FORMAT.md,
/// "Recovery"). Who makes keys has the public half, which opens none; the private one is wrapped by
/// the recovery master key, which is asked on the day that it is needed.
struct RecoveryKey {
  MasterRow master;
  HpkePublicKey public_key{};
  ByteVector wrapped;  ///< the private half
};

Result<std::optional<RecoveryKey>> select_recovery(Database& database);
Result<void> write_recovery(Database& database, MasterId id, const HpkePublicKey& public_key,
                            Bytes wrapped);
Result<void> delete_recovery(Database& database, MasterId id);

Result<ByteVector> seal_copy(const HpkePublicKey& public_key, const KeyContext& context,
                             const SecretBytes& key);

/// Opens copies in place of the primary, whose record it shows. Wraps nothing (kUnsupported); no
/// bytes stand for a copy that is not there (kNotFound).
class RecoveredKms final : public MasterKms {
 public:
  /// Asks the recovery master key for the private half. Errors as MasterKms::unwrap's; kCorrupt if
  /// that is of another public key.
  static Result<std::unique_ptr<RecoveredKms>> open(MasterKms& recovery, const RecoveryKey& key,
                                                    StoreId store, MasterKeyRecord primary);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] MasterKeyRecord describe() const override { return primary_; }

 private:
  RecoveredKms(SecretBytes private_key, MasterKeyRecord primary)
      : private_key_(std::move(private_key)), primary_(std::move(primary)) {}

  const SecretBytes private_key_;
  const MasterKeyRecord primary_;
};

}  // namespace coffer
