#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/rsa_public_key.h"
#include "keystore/kms/key_context.h"

namespace coffer {

/// `azure-kms://HOST/keys/NAME`: where a key of Azure Key Vault or of Managed HSM is.
struct AzureKeyUri {
  std::string host;      ///< "VAULT.vault.azure.net", in lower case
  std::string resource;  ///< what tokens for it are for: "https://vault.azure.net"
  std::string name;
  bool is_hsm = false;

  /// kInvalid, without words of what may be a secret, for anything else.
  static Result<AzureKeyUri> parse(const std::string& uri);
  /// The version that a key identifier stands for, if it is one of this key's.
  [[nodiscard]] std::optional<std::string> version_named(std::string_view key_id) const;
};

/// True for the name of a vault or HSM, in one of Azure's clouds.
bool is_azure_host(std::string_view host);
/// True for 32 lower-case hex letters.
bool is_azure_version(std::string_view text);

/// A version of a key, as Azure describes it (KeyBundle).
struct AzureKey {
  std::string version;
  std::string type;  ///< kty
  std::vector<std::string> operations;
  std::optional<RsaPublicKey> rsa;  ///< none if it is no RSA key, or one that can't be used
  bool enabled = false;
  std::optional<std::int64_t> not_before;  ///< Unix seconds
  std::optional<std::int64_t> expires;
  std::int64_t created = 0;

  /// From the answer to a GET of it; none if it is no such answer.
  static std::optional<AzureKey> from(Bytes body, const AzureKeyUri& uri);
  /// kUnsupported, with the remedy, for a key that can't wrap as keys of its place do.
  [[nodiscard]] Result<void> check_kind(const AzureKeyUri& uri) const;
  /// kKmsKeyDisabled for one that may not wrap at `now`.
  [[nodiscard]] Result<void> check_usable(const AzureKeyUri& uri, std::int64_t now) const;
};

/// What a key is wrapped in (keystore/FORMAT.md, "Master keys").
struct AzureWrapped {
  enum class Kind : std::uint8_t { kVault = 1, kHsm = 2 };
  Kind kind = Kind::kVault;
  std::string version;
  Bytes sealed;     ///< of the inner key, or of the key itself
  Bytes box;        ///< kVault alone, as the next; those below kHsm
  Bytes signature;  ///< of `statement`
  Bytes iv;
  Bytes tag;

  /// kUnknownVersion, or kCorrupt for what is none.
  static Result<AzureWrapped> parse(Bytes wrapped);
  [[nodiscard]] ByteVector encode() const;
  /// Of kVault: what the master key signs, and nothing else that it signs begins so.
  [[nodiscard]] ByteVector statement(const KeyContext& context) const;

 private:
  /// Without the signature.
  [[nodiscard]] ByteWriter begin() const;
};

constexpr std::size_t kAzureIv = 12;
constexpr std::size_t kAzureTag = 16;

}  // namespace coffer
