#pragma once

#include <array>
#include <string_view>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Sealing to whoever has a private key, by those who have the public one alone: HPKE (RFC 9180) in
/// base mode, one message to a context, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
/// Nothing says who sealed. All functions are thread-safe.

using HpkePublicKey = std::array<std::uint8_t, 32>;

inline constexpr std::size_t kHpkeOverhead = 32 + 16;

/// Of a private key, 32 bytes of any kind.
HpkePublicKey hpke_public_key(const SecretBytes& private_key);

/// enc ‖ ciphertext ‖ tag. kInvalid for a public key that is none (of small order).
Result<ByteVector> hpke_seal(const HpkePublicKey& recipient, std::string_view info,
                             Bytes associated, Bytes plain);
/// The same with an ephemeral private key that is given, which must never be used again.
Result<ByteVector> hpke_seal_with(const SecretBytes& ephemeral, const HpkePublicKey& recipient,
                                  std::string_view info, Bytes associated, Bytes plain);

/// kCorrupt unless it was sealed to this key, for this info and these associated data.
Result<SecretBytes> hpke_open(const SecretBytes& private_key, std::string_view info,
                              Bytes associated, Bytes sealed);

}  // namespace coffer
