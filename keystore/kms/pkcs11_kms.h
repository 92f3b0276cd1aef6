#pragma once

#include <memory>
#include <string>

#include "keystore/kms/master_kms.h"
#include "keystore/kms/pkcs11_key.h"

namespace coffer {

/// `pkcs11:` (RFC 7512): the master key on an HSM, which wraps by AES-GCM with the context as its
/// AAD (keystore/FORMAT.md, "Master keys"; keystore/kms/PKCS11.md).
class Pkcs11Kms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there.
  static Result<std::unique_ptr<Pkcs11Kms>> open(const std::string& uri,
                                                 const PassphraseSource& pin);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override { return key_->inspect(); }

 private:
  Pkcs11Kms(std::string uri, std::string fingerprint, std::unique_ptr<Pkcs11Key> key);

  const std::string uri_;
  const std::string fingerprint_;
  const std::unique_ptr<Pkcs11Key> key_;
};

Result<std::unique_ptr<MasterKms>> create_pkcs11_master(const std::string& uri,
                                                        const PassphraseSource& pin);
Result<std::unique_ptr<MasterKms>> open_pkcs11_master(const MasterKeyRecord& record,
                                                      const PassphraseSource& pin);

}  // namespace coffer
