#pragma once

#include <memory>
#include <string>

#include "keystore/kms/host_and_port.h"
#include "keystore/kms/master_kms.h"
#include "keystore/kms/vault_batch.h"
#include "keystore/kms/vault_key.h"
#include "keystore/kms/vault_session.h"

namespace coffer {

/// `hcvault://HOST[:PORT]/MOUNT/keys/NAME[?namespace=NS]`: where a key of Transit is.
struct VaultKeyUri {
  HostAndPort host;
  std::string mount;  ///< may have several parts
  std::string name;
  std::string name_space;

  /// kInvalid, without words of what may be a secret, for anything else.
  static Result<VaultKeyUri> parse(const std::string& uri);
};

/// The master key in HashiCorp Vault's or OpenBao's Transit engine, which wraps under a key that it
/// derives for each context (keystore/FORMAT.md, "Master keys"; keystore/VAULT.md). A call takes no
/// longer than 8 s, logins included.
class VaultKms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there, and of a kind that does. `version`
  /// empty: whichever key it is, provided that Vault does not give it away; otherwise it has to be
  /// that one (kWrongKey).
  static Result<std::unique_ptr<VaultKms>> open(const std::string& uri, const std::string& version);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override;
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::size_t batch_size() const override { return 256; }
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  VaultKms(std::string uri, VaultKeyUri place, VaultSettings settings);
  Result<VaultKey> read_key();
  /// The version to remember.
  Result<std::string> check_key(const std::string& version);
  /// A POST to Transit; the answer is one of 200.
  Result<HttpResponse> ask(const std::string& operation, SecretBytes body);
  /// The answer to a POST of many items: one result for each, in their order, and no failure.
  Result<VaultResults> ask_batch(const std::string& operation, std::span<const SecretBytes> items);
  Result<std::vector<ByteVector>> wrapped_by(const std::string& operation,
                                             std::span<const SecretBytes> items);
  [[nodiscard]] Result<ByteVector> wrapped_from(const std::string& ciphertext) const;
  [[nodiscard]] Error failure(long status, const std::string& words, const std::string& path) const;

  const std::string uri_;
  const VaultKeyUri place_;
  std::string version_;
  VaultSession session_;
};

/// Vault's logins need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_vault_master(const std::string& uri,
                                                       const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_vault_master(const MasterKeyRecord& record,
                                                     const PassphraseSource& passphrase);

}  // namespace coffer
