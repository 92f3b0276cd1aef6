#pragma once

#include <map>
#include <memory>
#include <string>

#include "keystore/base/mutex.h"
#include "keystore/kms/azure_credentials.h"
#include "keystore/kms/azure_key.h"
#include "keystore/kms/azure_settings.h"
#include "keystore/kms/bearer_token.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// The master key in Azure Key Vault or Managed HSM (keystore/FORMAT.md, "Master keys";
/// keystore/AZURE.md). A Managed HSM binds the context itself; in a vault what the key lies in is
/// signed together with it. A call takes no longer than 8 s, logins included.
class AzureKms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there, at a place that is the node's own.
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
  AzureKms(std::string uri, AzureKeyUri place, AzureSettings settings);
  /// Whom requests go to: "https://HOST[:PORT]".
  [[nodiscard]] std::string origin() const;
  /// GET KEY/VERSION; the newest one if it is empty.
  Result<AzureKey> read_key(const std::string& version, BearerTokens::Time until);
  /// The version to remember, of a store that begins.
  Result<std::string> take_up();
  /// Sees that the version on record is there.
  Result<void> check_version(const std::string& version);
  Result<ByteVector> wrap_at_vault(const AzureKey& by, const SecretBytes& key,
                                   const KeyContext& context, BearerTokens::Time until);
  Result<ByteVector> wrap_at_hsm(const AzureKey& by, const SecretBytes& key,
                                 const KeyContext& context, BearerTokens::Time until);
  Result<SecretBytes> unwrap_at_vault(const AzureWrapped& parts, const KeyContext& context,
                                      BearerTokens::Time until);
  Result<SecretBytes> unwrap_at_hsm(const AzureWrapped& parts, const KeyContext& context,
                                    BearerTokens::Time until);
  /// The `value` that unwrapkey or decrypt answers with.
  Result<SecretBytes> opened(const std::string& version, const std::string& operation,
                             const SecretBytes& body, BearerTokens::Time until);
  /// Of a version, asked for once. kCorrupt if the key never had it.
  Result<RsaPublicKey> public_half(const std::string& version, BearerTokens::Time until);
  /// kCorrupt in place of kKmsKeyMissing if it is the version alone that is missing.
  Error without_version(const Error& error, BearerTokens::Time until);
  /// POST KEY/VERSION/OPERATION, or GET KEY/VERSION if it is empty; the answer is one of 200.
  Result<HttpResponse> ask(const std::string& version, const std::string& operation,
                           const SecretBytes& body, BearerTokens::Time until);

  const std::string uri_;
  const AzureKeyUri place_;
  const AzureSettings settings_;
  const AzureCredentials credentials_;
  const HttpClient http_;
  BearerTokens tokens_;
  std::string version_;
  Mutex mutex_;
  std::map<std::string, RsaPublicKey> public_halves_ GUARDED_BY(mutex_);
};

/// Azure's logins need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_azure_master(const std::string& uri,
                                                       const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_azure_master(const MasterKeyRecord& record,
                                                     const PassphraseSource& passphrase);

}  // namespace coffer
