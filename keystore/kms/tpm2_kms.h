#pragma once

#include <memory>
#include <string>
#include <vector>

#include "keystore/kms/local_kms.h"
#include "keystore/kms/master_kms.h"
#include "keystore/kms/tpm2_record.h"

namespace coffer {

/// `tpm2:`: a 32-byte master key sealed to the TPM, which wraps as a key file's does once it is
/// open (keystore/FORMAT.md, "Master keys"; keystore/TPM2.md). The TPM is asked then, and for what
/// it says of itself, and never else.
class Tpm2Kms final : public MasterKms {
 public:
  Tpm2Kms(const Tpm2Uri& uri, const Tpm2Sealed& sealed, const SecretBytes& key);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  const Tpm2Uri uri_;
  LocalKms unsealed_;
};

/// `describe` has the URI in the form to be kept on record.
Result<std::unique_ptr<MasterKms>> create_tpm2_master(const std::string& uri,
                                                      const PassphraseSource& pin);
Result<std::unique_ptr<MasterKms>> open_tpm2_master(const MasterKeyRecord& record,
                                                    const PassphraseSource& pin);

/// True if the URI says that a PIN is typed.
bool tpm2_may_ask(const std::string& uri);

}  // namespace coffer
