#pragma once

#include <array>

#include "keystore/base/bytes.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

using Ed25519PublicKey = std::array<std::uint8_t, 32>;
using Ed25519Signature = std::array<std::uint8_t, 64>;

/// An Ed25519 key (RFC 8032, pure: the message is not hashed before). Immutable; many threads may
/// sign. OpenSSL gets the seed for the length of each call, so that it lies in no ordinary memory
/// between.
class Ed25519Key {
 public:
  /// 32 bytes.
  explicit Ed25519Key(SecretBytes seed);

  [[nodiscard]] const Ed25519PublicKey& public_key() const { return public_key_; }
  [[nodiscard]] Ed25519Signature sign(Bytes message) const;

 private:
  SecretBytes seed_;
  Ed25519PublicKey public_key_{};
};

/// False for a signature of another message or key, and for one that is malformed (RFC 8032,
/// 5.1.7).
bool ed25519_verify(const Ed25519PublicKey& key, Bytes message, Bytes signature);

}  // namespace coffer
