#pragma once

#include <memory>
#include <optional>

#include "keystore/base/bytes.h"
#include "keystore/crypto/secret_bytes.h"

struct evp_pkey_st;

namespace coffer {

/// The public half of an RSA key. Thread-safe; copies share it.
class RsaPublicKey {
 public:
  /// Of a modulus of 2048, 3072 or 4096 bits and an odd exponent of 3 to 2^32 - 1, greatest byte
  /// first. None for anything else.
  static std::optional<RsaPublicKey> of(Bytes modulus, Bytes exponent);

  /// Of the modulus and of what is sealed, in bytes.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// By RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label (RFC 8017, 7.1; "RSA-OAEP-256" of
  /// RFC 7518): `size()` bytes, of a secret of up to `size() - 66`.
  [[nodiscard]] ByteVector seal(const SecretBytes& secret) const;

 private:
  RsaPublicKey(std::shared_ptr<evp_pkey_st> key, std::size_t size)
      : key_(std::move(key)), size_(size) {}

  std::shared_ptr<evp_pkey_st> key_;
  std::size_t size_;
};

}  // namespace coffer
