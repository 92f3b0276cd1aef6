#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "keystore/base/bytes.h"

namespace coffer {

/// A key of Transit's, as Vault describes it.
struct VaultKey {
  std::string type;
  bool usable = false;       ///< derived, and by an AEAD with random nonces
  bool given_away = false;   ///< Vault would export it
  std::uint64_t latest = 0;  ///< its newest version
  std::map<std::uint64_t, std::uint64_t>
      made_at;  ///< Unix seconds of the versions in use; not empty

  /// From the answer to GET MOUNT/keys/NAME; none if it is no such answer.
  static std::optional<VaultKey> from(Bytes body);
};

/// "NAME:VERSION:UNIX-SECONDS" of the oldest version in use when the store was made: what stays as
/// it is while the key is rotated.
struct VaultFingerprint {
  std::string name;
  std::uint64_t version = 0;
  std::uint64_t made_at = 0;

  [[nodiscard]] std::string text() const;
  static std::optional<VaultFingerprint> parse(std::string_view text);
  /// One whose version is in use no more (archived, trimmed) can't be compared.
  [[nodiscard]] bool may_be(const std::string& key_name, const VaultKey& key) const;
};

/// "vault:vN:BASE64" of a 32-byte key, in its one form (keystore/FORMAT.md, "Master keys").
bool is_vault_ciphertext(std::string_view text);
/// Its N; empty if it is none.
std::string_view version_of_vault_ciphertext(std::string_view text);

}  // namespace coffer
