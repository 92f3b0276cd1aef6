#pragma once

#include <array>
#include <memory>

#include "keystore/base/bytes.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

using Digest = std::array<std::uint8_t, 32>;

/// SHA-256 (FIPS 180-4). Thread-safe.
Digest sha256(Bytes data);

/// SHA-256 over what is added piece by piece; for data that is not in one place (a large file).
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  void add(Bytes data);
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// An HMAC-SHA-256 key (RFC 2104, FIPS 198-1). Immutable; `mac` may be called from many threads.
class HmacKey {
 public:
  explicit HmacKey(Bytes key);
  ~HmacKey();
  HmacKey(HmacKey&&) noexcept;
  HmacKey& operator=(HmacKey&&) noexcept;
  HmacKey(const HmacKey&) = delete;
  HmacKey& operator=(const HmacKey&) = delete;

  [[nodiscard]] Digest mac(Bytes data) const;
  /// Over the pieces as if joined.
  [[nodiscard]] Digest mac(std::initializer_list<Bytes> pieces) const;
  /// True if `expected` (up to 32 bytes, at least 16) is the MAC's beginning; in constant time.
  [[nodiscard]] bool verify(Bytes data, Bytes expected) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// HMAC-SHA-256 over what is added piece by piece; for data that is not in one place (a whole
/// table).
class HmacStream {
 public:
  explicit HmacStream(Bytes key);
  ~HmacStream();
  HmacStream(const HmacStream&) = delete;
  HmacStream& operator=(const HmacStream&) = delete;
  void add(Bytes data);
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace coffer
