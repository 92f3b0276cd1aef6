#pragma once

#include <initializer_list>
#include <memory>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// AES-256-SIV (RFC 5297), deterministic: equal inputs give equal outputs, and nothing else shows.
/// For names, which must be found again. Immutable; thread-safe.
class Siv {
 public:
  static constexpr std::size_t kKeySize = 64;
  static constexpr std::size_t kOverhead = 16;

  /// `key` is 64 bytes.
  explicit Siv(Bytes key);
  ~Siv();
  Siv(Siv&&) noexcept;
  Siv& operator=(Siv&&) noexcept;
  Siv(const Siv&) = delete;
  Siv& operator=(const Siv&) = delete;

  /// Synthetic IV ‖ ciphertext. The associated strings are a vector: ("ab"), ("a", "b") and ("ab",
  /// "") are three. `plain` is not empty (OpenSSL 3.0 authenticates no empty message).
  [[nodiscard]] ByteVector seal(std::initializer_list<Bytes> associated, Bytes plain) const;
  /// kCorrupt if it does not authenticate.
  [[nodiscard]] Result<ByteVector> open(std::initializer_list<Bytes> associated,
                                        Bytes sealed) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace coffer
