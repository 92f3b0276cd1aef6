#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/p256_public_key.h"
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
  /// The key beside it that signs what it wraps (of vaults).
  [[nodiscard]] AzureKeyUri signer() const;
  /// True if it is at `entry`, a host, or the very key: "HOST/keys/NAME".
  [[nodiscard]] bool lies_under(std::string_view entry) const;
  /// The version that a key identifier stands for, if it is one of this key's.
  [[nodiscard]] std::optional<std::string> version_named(std::string_view key_id) const;
};

/// True for what AzureKeyUri::lies_under takes, in one of Azure's clouds.
bool is_azure_place(std::string_view entry);
/// True for 32 lower-case hex letters.
bool is_azure_version(std::string_view text);

/// A version of a key, as Azure describes it (KeyBundle).
struct AzureKey {
  std::string version;
  std::string type;  ///< kty
  std::vector<std::string> operations;
  std::optional<RsaPublicKey> rsa;    ///< none if it is no RSA key that can be used
  std::optional<P256PublicKey> p256;  ///< none if it is no key on that curve
  bool enabled = false;
  std::optional<std::int64_t> not_before;  ///< Unix seconds
  std::optional<std::int64_t> expires;
  std::optional<std::int64_t> created;

  /// From the answer to a GET of it; none if it is no such answer.
  static std::optional<AzureKey> from(Bytes body, const AzureKeyUri& uri);
  /// kUnsupported, with the remedy, for a key that can't wrap as keys of its place do, or sign.
  [[nodiscard]] Result<void> check_wraps(const AzureKeyUri& uri) const;
  [[nodiscard]] Result<void> check_signs(const AzureKeyUri& uri) const;
  /// kKmsKeyDisabled for one that may not wrap at `now`.
  [[nodiscard]] Result<void> check_usable(const AzureKeyUri& uri, std::int64_t now) const;
};

/// What a key is wrapped in (keystore/FORMAT.md, "Master keys"). Its parts lie in what they were
/// parsed from, or put in from.
struct AzureWrapped {
  enum class Kind : std::uint8_t { kVault = 1, kHsm = 2 };
  Kind kind = Kind::kVault;
  std::string version;
  std::string signer;  ///< version of the key that signed; kVault alone, as the next but `sealed`
  Bytes box;
  Bytes signature;  ///< of `statement`
  Bytes sealed;     ///< the inner key, or the key itself; those below are of kHsm alone
  Bytes iv;
  Bytes tag;

  /// kUnknownVersion, or kCorrupt for what is none.
  static Result<AzureWrapped> parse(Bytes wrapped);
  [[nodiscard]] ByteVector encode() const;
  /// Of kVault: what is signed; nothing else that the key signs begins so.
  [[nodiscard]] ByteVector statement(const KeyContext& context) const;

 private:
  /// Without the signature.
  [[nodiscard]] ByteWriter begin() const;
};

constexpr std::size_t kAzureIv = 12;
constexpr std::size_t kAzureTag = 16;

}  // namespace coffer
