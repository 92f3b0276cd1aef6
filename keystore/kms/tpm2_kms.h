#pragma once

#include <memory>
#include <string>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// `tpm2:`: a 32-byte master key sealed to the TPM, which LocalKms wraps with once it is open
/// (keystore/FORMAT.md, "Master keys"; keystore/TPM2.md). The TPM is asked then and never again.
Result<std::unique_ptr<MasterKms>> create_tpm2_master(const std::string& uri,
                                                      const PassphraseSource& pin);
Result<std::unique_ptr<MasterKms>> open_tpm2_master(const MasterKeyRecord& record,
                                                    const PassphraseSource& pin);

/// True if the URI says that a PIN is typed.
bool tpm2_may_ask(const std::string& uri);

}  // namespace coffer
