#pragma once

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// The signature of RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2; "RS256" of RFC 7518) by the RSA
/// key of two primes that `pkcs8` holds: DER of a PrivateKeyInfo (RFC 5208), 2048 to 8192 bits.
/// kInvalid for anything else. The key lies in ordinary memory for the length of the call alone.
Result<ByteVector> rs256_sign(Bytes pkcs8, Bytes message);

}  // namespace coffer
