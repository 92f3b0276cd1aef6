#pragma once

#include <cstdint>
#include <string>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/tpm2_record.h"

namespace coffer {

/// Seals 32 bytes to this machine's TPM 2.0: a keyed-hash object (TPM 2.0 Library, Part 3,
/// TPM2_Create) under the ECC P-256 storage key of the owner hierarchy, to be unsealed only while
/// the PCRs are as they are now and with this authorization (32 bytes, the last not 0; or none).
/// Encrypted on the way to the TPM. kInvalid if the TPM has no such PCRs, or nothing was
/// measured into any of them; else as tpm2_unseal.
/// Thread-safe, waits as long as the TPM takes, and leaves nothing on it.
Result<Tpm2Sealed> tpm2_seal(const SecretBytes& secret, const PcrSelection& pcrs,
                             const SecretBytes& authorization);

/// The secret, encrypted on the way from the TPM under a key that only the storage key on record
/// can have. kKmsKeyMissing if the TPM is another one or was cleared; kKmsDenied if the PCRs have
/// other values, or if too many wrong PINs have locked the TPM; kWrongKey if the authorization is
/// another; kCorrupt if what was sealed was altered; kKmsUnavailable if there is no TPM or it
/// fails; kKeyUnavailable if this process may not use it.
Result<SecretBytes> tpm2_unseal(const Tpm2Sealed& sealed, const PcrSelection& pcrs,
                                const SecretBytes& authorization);

/// What the TPM says of itself.
struct Tpm2Properties {
  std::string made_by;
  std::string firmware;      ///< "8217.4131.22.13878", 16 bits each
  std::uint32_t wrong_pins;  ///< as it counts now
  std::uint32_t most_wrong_pins;
};

/// As tpm2_unseal where there is no TPM, or it fails.
Result<Tpm2Properties> tpm2_properties();

/// Silences the TPM library, which would write each failure to stderr, and keys where somebody asks
/// it for a trace. Alters the environment: at the start of main, before there are threads.
void silence_tpm2_library();

}  // namespace coffer
