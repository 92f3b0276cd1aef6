#pragma once

#include <memory>
#include <string>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// The embedded provider: a 32-byte master key in this process's memory, from a key file or a
/// passphrase (keystore/FORMAT.md, "Master keys").
class LocalKms final : public MasterKms {
 public:
  LocalKms(std::string uri, std::string params, const SecretBytes& master_key);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] MasterKeyRecord describe() const override;

 private:
  std::string uri_;
  std::string params_;
  std::string fingerprint_;
  SecretBytes wrapping_key_;
};

/// `local:PATH`: makes the key file if it is missing, else takes it up.
Result<std::unique_ptr<MasterKms>> create_key_file_master(const std::string& uri,
                                                          const std::string& path);
Result<std::unique_ptr<MasterKms>> open_key_file_master(const MasterKeyRecord& record,
                                                        const std::string& path);

/// `passphrase:`: scrypt with a fresh salt, or with the salt and cost on record.
Result<std::unique_ptr<MasterKms>> create_passphrase_master(const PassphraseSource& source);
Result<std::unique_ptr<MasterKms>> open_passphrase_master(const MasterKeyRecord& record,
                                                          const PassphraseSource& source);

}  // namespace coffer
