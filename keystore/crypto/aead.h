#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// How chunks are sealed; the numbers stand in headers and in the keystore (fs/FORMAT.md 3.1).
enum class Suite : std::uint16_t { kAes256Gcm = 1, kChaCha20Poly1305 = 2 };

std::string_view to_string(Suite suite);
/// kInvalid for a name or number that is no suite.
Result<Suite> suite_from_name(std::string_view name);
Result<Suite> suite_from_number(std::uint16_t number);

inline constexpr std::size_t kAeadKeySize = 32;
using Nonce = std::array<std::uint8_t, 12>;
using Tag = std::array<std::uint8_t, 16>;

/// An expanded AEAD key. Immutable; all calls are thread-safe. `in` and `out` have one length and
/// are the same memory or apart.
class AeadKey {
 public:
  AeadKey() = default;
  AeadKey(const AeadKey&) = delete;
  AeadKey& operator=(const AeadKey&) = delete;
  virtual ~AeadKey() = default;

  /// The nonce must never have been used with this key before.
  virtual void seal(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
                    Tag& tag) const = 0;
  /// False, and `out` wiped, if the tag does not hold.
  [[nodiscard]] virtual bool open(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
                                  const Tag& tag) const = 0;
};

/// The implementation that bulk data goes through: ipsec-mb where the processor has AVX2 and AES,
/// OpenSSL otherwise (ChaCha20-Poly1305 is OpenSSL's everywhere). One is chosen at start and passed
/// down. Thread-safe.
class AeadEngine {
 public:
  enum class Choice { kFastest, kOpenSsl };

  /// Chooses, and proves the choice by a known answer and against OpenSSL on lengths around its
  /// block sizes; one that fails is not used. kUnsupported if not even OpenSSL passes.
  static Result<AeadEngine> create(Choice choice = Choice::kFastest);

  ~AeadEngine();
  AeadEngine(AeadEngine&&) noexcept;
  AeadEngine& operator=(AeadEngine&&) noexcept;
  AeadEngine(const AeadEngine&) = delete;
  AeadEngine& operator=(const AeadEngine&) = delete;

  /// Expands a 32-byte key. The result does not need the engine to live on.
  [[nodiscard]] std::unique_ptr<const AeadKey> expand(Suite suite, Bytes key) const;
  /// What AES-256-GCM runs on, for `coffer status`: "ipsec-mb 1.3.0 avx512 vaes", "openssl 3.0.22".
  [[nodiscard]] std::string_view name() const;

 private:
  struct State;
  explicit AeadEngine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace coffer
