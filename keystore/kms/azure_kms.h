#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "keystore/base/mutex.h"
#include "keystore/kms/azure_key.h"
#include "keystore/kms/azure_vault.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// The master key in Azure Key Vault or Managed HSM (keystore/FORMAT.md, "Master keys";
/// keystore/AZURE.md). A Managed HSM binds the context itself; in a vault, where an RSA key opens
/// what it wrapped, a second key signs that together with the context. A call takes no longer than
/// 8 s, logins included.
class AzureKms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there, and be one of the node's own.
  /// `version` empty: whichever key it is, provided that it can be used now; otherwise it has to
  /// have that version (kWrongKey).
  static Result<std::unique_ptr<AzureKms>> open(const std::string& uri, const std::string& version);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  using Time = AzureVault::Time;

  /// A key, and the version of it on record.
  struct Known {
    AzureKeyUri place;
    std::string version = {};
  };

  AzureKms(std::string uri, const AzureKeyUri& place, AzureSettings settings);
  /// The versions to remember, of a store that begins.
  Result<void> take_up();
  /// Sees that the versions on record are there.
  Result<void> check_versions(const std::string& versions);
  Result<void> check_version(const Known& key, Time until);
  /// The newest version, if it `fits` and may be used now. kKmsKeyDisabled if not.
  Result<AzureKey> usable(const Known& key,
                          Result<void> (AzureKey::*fits)(const AzureKeyUri&) const, Time until);
  Result<ByteVector> wrap_at_vault(const SecretBytes& key, const KeyContext& context, Time until);
  Result<ByteVector> wrap_at_hsm(const SecretBytes& key, const KeyContext& context, Time until);
  Result<SecretBytes> unwrap_at_vault(const AzureWrapped& parts, const KeyContext& context,
                                      Time until);
  Result<SecretBytes> unwrap_at_hsm(const AzureWrapped& parts, const KeyContext& context,
                                    Time until);
  /// The `value` that unwrapkey or decrypt answers with.
  Result<SecretBytes> opened(const std::string& version, const std::string& operation,
                             const SecretBytes& body, Time until);
  /// Of a version of the key that signs; asked for once.
  Result<P256PublicKey> public_half(const std::string& version, Time until);
  /// What a missing version means: kKmsKeyMissing if the key itself is, kWrongKey if it is another
  /// one now, kCorrupt if it never had such a version. Other errors as they are.
  Error without_version(const Known& key, const std::string& version, const Error& error,
                        Time until);

  const std::string uri_;
  AzureVault vault_;
  Known key_;
  std::optional<Known> signer_;  ///< of vaults alone
  Mutex mutex_;
  std::map<std::string, P256PublicKey> public_halves_ GUARDED_BY(mutex_);
};

/// Azure's logins need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_azure_master(const std::string& uri,
                                                       const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_azure_master(const MasterKeyRecord& record,
                                                     const PassphraseSource& passphrase);

}  // namespace coffer
