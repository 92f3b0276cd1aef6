#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "keystore/kms/kmip_message.h"

namespace coffer {

/// A managed object's state (OASIS KMIP 1.4, 9.1.3.2.18).
enum class KmipState : std::uint32_t {
  kPreActive = 1,
  kActive = 2,
  kDeactivated = 3,
  kCompromised = 4,
  kDestroyed = 5,
  kDestroyedCompromised = 6,
};
std::string to_string(KmipState state);

/// A managed object as its server describes it (3, "Attributes").
struct KmipKey {
  bool is_aes_256 = false;
  KmipState state{};
  std::uint32_t usage = 0;          ///< Cryptographic Usage Mask
  std::int64_t made_at = 0;         ///< Initial Date, Unix seconds; 0: not told
  std::optional<bool> sensitive;    ///< given out wrapped by another key, at most; none: not told
  std::optional<bool> extractable;  ///< given out at all; none: not told

  static constexpr std::uint32_t kMayEncrypt = 0x4;
  static constexpr std::uint32_t kMayDecrypt = 0x8;

  /// The contents of a Get Attributes request for what is above.
  static SecretBytes request(const std::string& uid);
  /// From the payload of its answer; none if it is none, or one of another object.
  static std::optional<KmipKey> from(const TtlvItem& payload, const std::string& uid);

  /// The server says that it would hand the key out in the clear.
  [[nodiscard]] bool given_away() const;
  /// kKmsKeyMissing or kKmsKeyDisabled, with words, if its state or usage mask does not let it be
  /// used so.
  [[nodiscard]] std::optional<Error> why_not(std::uint32_t usage_needed) const;
};

}  // namespace coffer
