#pragma once

#include <memory>
#include <optional>

#include "keystore/base/bytes.h"

struct evp_pkey_st;

namespace coffer {

/// The public half of an ECDSA key on the curve P-256 (FIPS 186-5). Thread-safe; copies share it.
class P256PublicKey {
 public:
  /// Of the coordinates of its point, 32 bytes each, greatest first. None if that is no point of
  /// the curve.
  static std::optional<P256PublicKey> of(Bytes x, Bytes y);

  /// True if `signature` is one of `message` with SHA-256: r and s, 32 bytes each ("ES256" of
  /// RFC 7518, 3.4).
  [[nodiscard]] bool has_signed(Bytes message, Bytes signature) const;

 private:
  explicit P256PublicKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

  std::shared_ptr<evp_pkey_st> key_;
};

constexpr std::size_t kEs256SignatureSize = 64;

}  // namespace coffer
