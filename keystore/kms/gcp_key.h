#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// `gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K`: where a key of Cloud KMS is.
struct GcpKeyUri {
  std::string project;
  std::string name;  ///< "projects/P/…/cryptoKeys/K"
  std::string key;   ///< K

  /// kInvalid, without words of what may be a secret, for anything else.
  static Result<GcpKeyUri> parse(const std::string& uri);
  /// The number of the version that a full name stands for, if it is one of this key's. Google may
  /// name a project by its number.
  [[nodiscard]] std::optional<std::uint32_t> version_named(std::string_view full_name) const;
};

/// A CryptoKey, as Google describes it.
struct GcpKey {
  std::string purpose;
  std::string created_at;
  std::string protection_level;  ///< of the primary version, as are those below
  std::string algorithm;
  std::string state;
  std::optional<std::uint32_t> primary;  ///< the version that wraps; none if there is none

  /// From the answer to a GET of it; none if it is no such answer.
  static std::optional<GcpKey> from(Bytes body, const GcpKeyUri& uri);
};

/// What a key is wrapped in (keystore/FORMAT.md, "Master keys").
struct GcpWrapped {
  static constexpr std::size_t kMostCiphertext = 1024;

  std::uint32_t version = 0;
  Bytes check;
  Bytes ciphertext;

  /// kUnknownVersion, or kCorrupt for what is none.
  static Result<GcpWrapped> parse(Bytes wrapped);
};

/// What is encrypted for a key of 32 bytes: the key and a key for the check.
SecretBytes gcp_plaintext(const SecretBytes& key);
/// `plaintext` as above.
ByteVector gcp_wrapped(const SecretBytes& plaintext, std::uint32_t version, Bytes ciphertext);
/// The key again. kCorrupt if it has another length, or the version is not the one it was wrapped
/// by.
Result<SecretBytes> gcp_unwrapped(const SecretBytes& plaintext, const GcpWrapped& wrapped);

}  // namespace coffer
