#include "keystore/kms/vault_key.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr std::string_view kPrefix = "vault:v";
/// Base64 of nonce (12), ciphertext (32) and tag (16): 60 bytes, which leave no bit over.
constexpr std::size_t kSealedText = 80;

std::optional<std::uint64_t> number_of(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (std::to_string(value) != digits) return std::nullopt;
  return value;
}

}  // namespace

std::optional<VaultKey> VaultKey::from(Bytes body) {
  const auto data = json_member(json_object(body), "data");
  if (!data.is_object()) return std::nullopt;
  const auto flag = [&data](const char* name) {
    const auto value = data.value(name, nlohmann::json());
    return value.is_boolean() && value.get<bool>();
  };
  const auto type = data.value("type", nlohmann::json());
  const auto latest = data.value("latest_version", nlohmann::json());
  const auto versions = data.value("keys", nlohmann::json());
  if (!type.is_string() || !latest.is_number_unsigned() || !versions.is_object())
    return std::nullopt;
  VaultKey key;
  key.type = type.get<std::string>();
  key.usable = (type == "aes256-gcm96" || type == "chacha20-poly1305") && flag("derived") &&
               !flag("convergent_encryption");
  key.given_away = flag("exportable") || flag("allow_plaintext_backup");
  key.latest = latest.get<std::uint64_t>();
  for (const auto& [name, made_at] : versions.items()) {
    // Of keys that are not symmetric, this is an object.
    const auto version = number_of(name);
    if (version)
      key.made_at[*version] = made_at.is_number_unsigned() ? made_at.get<std::uint64_t>() : 0;
  }
  if (key.made_at.empty()) return std::nullopt;
  return key;
}

std::string VaultFingerprint::text() const {
  return name + ":" + std::to_string(version) + ":" + std::to_string(made_at);
}

std::optional<VaultFingerprint> VaultFingerprint::parse(std::string_view text) {
  const std::size_t second = text.rfind(':');
  const std::size_t first = second == 0 || second == std::string_view::npos
                                ? std::string_view::npos
                                : text.rfind(':', second - 1);
  if (first == std::string_view::npos) return std::nullopt;
  const auto version = number_of(text.substr(first + 1, second - first - 1));
  const auto made_at = number_of(text.substr(second + 1));
  if (!version || !made_at) return std::nullopt;
  return VaultFingerprint{std::string(text.substr(0, first)), *version, *made_at};
}

bool VaultFingerprint::may_be(const std::string& key_name, const VaultKey& key) const {
  if (key_name != name || version > key.latest) return false;
  const auto found = key.made_at.find(version);
  return found == key.made_at.end() || found->second == made_at;
}

/// N is 1 or more: Vault takes 0 for 1, and one key would have two texts.
bool is_vault_ciphertext(std::string_view text) {
  if (!text.starts_with(kPrefix)) return false;
  text.remove_prefix(kPrefix.size());
  const std::size_t colon = text.find(':');
  if (colon > 9) return false;  // or none
  const auto version = number_of(text.substr(0, colon));
  const std::string_view sealed = text.substr(colon + 1);
  return version && *version > 0 && sealed.size() == kSealedText &&
         from_secret_base64(as_bytes(sealed)) && !sealed.ends_with('=');
}

std::string_view version_of_vault_ciphertext(std::string_view text) {
  if (!is_vault_ciphertext(text)) return {};
  text.remove_prefix(kPrefix.size());
  return text.substr(0, text.find(':'));
}

}  // namespace coffer
