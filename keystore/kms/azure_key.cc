#include "keystore/kms/azure_key.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "keystore/crypto/box.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/master_kms.h"

namespace coffer {
namespace {

constexpr std::string_view kScheme = "azure-kms://";
constexpr std::string_view kKeys = "/keys/";
constexpr std::uint8_t kFormat = 1;
constexpr std::string_view kStatement = "coffer azure-kms wrapped key 1\n";
constexpr std::size_t kVersionSize = 32;
constexpr std::size_t kHead = 1 + 1 + kVersionSize;
/// Length of what is sealed, and who signed.
constexpr std::size_t kVaultHead = 2 + kVersionSize;
constexpr std::string_view kSigner = "-signer";
/// Azure's 127 without that.
constexpr std::size_t kLongestName = 120;
constexpr std::size_t kBox = kWrappedKeySize + kBoxOverhead;

/// Of Azure's clouds: the public one, China's, the US government's.
struct Place {
  std::string_view suffix;
  bool is_hsm;
};
constexpr std::array kPlaces = {
    Place{"vault.azure.net", false},         Place{"vault.azure.cn", false},
    Place{"vault.usgovcloudapi.net", false}, Place{"managedhsm.azure.net", true},
    Place{"managedhsm.azure.cn", true},      Place{"managedhsm.usgovcloudapi.net", true}};

bool is_lower_or_digit(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

/// Names at Azure are the same in either case.
bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool is_vault_name(std::string_view text) {
  return text.size() >= 3 && text.size() <= 24 && text[0] != '-' &&
         std::ranges::all_of(
             text, [](char letter) { return is_lower_or_digit(letter) || letter == '-'; });
}

bool is_key_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && std::ranges::all_of(text, [](char letter) {
    return is_lower_or_digit(lower(letter)) || letter == '-';
  });
}

const Place* place_of(std::string_view host) {
  const std::size_t dot = host.find('.');
  if (dot == std::string_view::npos || !is_vault_name(host.substr(0, dot))) return nullptr;
  const auto* const found = std::ranges::find(kPlaces, host.substr(dot + 1), &Place::suffix);
  return found == kPlaces.end() ? nullptr : &*found;
}

/// False for what is there and is no time.
bool read_time(const nlohmann::json& object, const char* name, std::optional<std::int64_t>& time) {
  const auto value = json_member(object, name);
  if (value.is_null()) return true;
  if (!value.is_number_integer()) return false;
  time = value.get<std::int64_t>();
  return true;
}

bool holds(const std::vector<std::string>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

std::optional<P256PublicKey> p256_of(const nlohmann::json& key) {
  const auto x = from_base64url(json_text(key, "x"));
  const auto y = from_base64url(json_text(key, "y"));
  if (json_text(key, "crv") != "P-256" || !x || !y) return std::nullopt;
  return P256PublicKey::of(*x, *y);
}

Error unsupported(const AzureKeyUri& uri, const std::string& words) {
  return {Code::kUnsupported, 0, uri.name + " at " + uri.host + ": " + words};
}

std::optional<RsaPublicKey> rsa_of(const nlohmann::json& key) {
  const auto modulus = from_base64url(json_text(key, "n"));
  const auto exponent = from_base64url(json_text(key, "e"));
  if (!modulus || !exponent) return std::nullopt;
  return RsaPublicKey::of(*modulus, *exponent);
}

}  // namespace

bool is_azure_place(std::string_view entry) {
  const std::string_view host = entry.substr(0, entry.find('/'));
  const std::string_view path = entry.substr(host.size());
  return place_of(host) != nullptr &&
         (path.empty() || (path.starts_with(kKeys) && is_key_name(path.substr(kKeys.size()))));
}

AzureKeyUri AzureKeyUri::signer() const {
  AzureKeyUri beside = *this;
  beside.name += kSigner;
  return beside;
}

bool AzureKeyUri::lies_under(std::string_view entry) const {
  return entry == host || same_name(entry, host + std::string(kKeys) + name);
}

bool is_azure_version(std::string_view text) {
  return text.size() == kVersionSize && std::ranges::all_of(text, [](char letter) {
           return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'f');
         });
}

Result<AzureKeyUri> AzureKeyUri::parse(const std::string& uri) {
  const Error malformed{
      Code::kInvalid, 0,
      "not azure-kms://VAULT.vault.azure.net/keys/NAME or "
      "azure-kms://HSM.managedhsm.azure.net/keys/NAME (the host in lower case, and "
      "nothing more: versions, credentials and settings are none of it, see "
      "keystore/AZURE.md)"};
  if (!uri.starts_with(kScheme)) return malformed;
  const std::string_view rest = std::string_view(uri).substr(kScheme.size());
  const std::string_view host = rest.substr(0, rest.find('/'));
  const std::string_view path = rest.substr(host.size());
  const Place* const place = place_of(host);
  if (place == nullptr || !path.starts_with(kKeys) || !is_key_name(path.substr(kKeys.size())))
    return malformed;
  return AzureKeyUri{.host = std::string(host),
                     .resource = "https://" + std::string(place->suffix),
                     .name = std::string(path.substr(kKeys.size())),
                     .is_hsm = place->is_hsm};
}

std::optional<std::string> AzureKeyUri::version_named(std::string_view key_id) const {
  constexpr std::string_view kSecure = "https://";
  if (!key_id.starts_with(kSecure)) return std::nullopt;
  key_id.remove_prefix(kSecure.size());
  std::string_view named = key_id.substr(0, key_id.find('/'));
  key_id.remove_prefix(named.size());
  if (named.ends_with(":443")) named.remove_suffix(4);
  if (!same_name(named, host) || !key_id.starts_with(kKeys)) return std::nullopt;
  key_id.remove_prefix(kKeys.size());
  const std::size_t slash = key_id.find('/');
  if (slash == std::string_view::npos || !same_name(key_id.substr(0, slash), name))
    return std::nullopt;
  const std::string_view version = key_id.substr(slash + 1);
  if (!is_azure_version(version)) return std::nullopt;
  return std::string(version);
}

std::optional<AzureKey> AzureKey::from(Bytes body, const AzureKeyUri& uri) {
  const auto json = json_object(body);
  const auto bundle = json_member(json, "key");
  const auto attributes = json_member(json, "attributes");
  const auto version = uri.version_named(json_text(bundle, "kid"));
  const auto operations = json_member(bundle, "key_ops");
  const auto enabled = json_member(attributes, "enabled");
  AzureKey key;
  key.type = json_text(bundle, "kty");
  if (!version || key.type.empty() || !operations.is_array() || !enabled.is_boolean() ||
      !read_time(attributes, "nbf", key.not_before) || !read_time(attributes, "exp", key.expires) ||
      !read_time(attributes, "created", key.created))
    return std::nullopt;
  key.version = *version;
  key.enabled = enabled.get<bool>();
  for (const auto& operation : operations) {
    if (!operation.is_string()) return std::nullopt;
    key.operations.push_back(operation.get<std::string>());
  }
  if (key.type == "RSA" || key.type == "RSA-HSM") key.rsa = rsa_of(bundle);
  if (key.type == "EC" || key.type == "EC-HSM") key.p256 = p256_of(bundle);
  return key;
}

Result<void> AzureKey::check_wraps(const AzureKeyUri& uri) const {
  if (uri.is_hsm) {
    if (type == "oct-HSM" && holds(operations, "encrypt") && holds(operations, "decrypt"))
      return {};
    return unsupported(
        uri,
        "not an AES key that encrypts and decrypts; make one: az keyvault key create --hsm-name "
        "HSM --name NAME --kty oct-HSM --size 256 --ops encrypt decrypt");
  }
  if (rsa && holds(operations, "unwrapKey")) return {};
  return unsupported(
      uri,
      "not an RSA key that unwraps; make one: az keyvault key create --vault-name VAULT --name "
      "NAME --kty RSA-HSM --size 3072 --ops unwrapKey");
}

Result<void> AzureKey::check_signs(const AzureKeyUri& uri) const {
  if (p256 && holds(operations, "sign")) return {};
  return unsupported(
      uri,
      "not a key on P-256 that signs; make one: az keyvault key create --vault-name VAULT --name "
      "NAME-signer --kty EC-HSM --curve P-256 --ops sign");
}

Result<void> AzureKey::check_usable(const AzureKeyUri& uri, std::int64_t now) const {
  // Clocks differ; Azure looks at its own.
  constexpr std::int64_t kSkew = 300;
  const auto error = [&uri](const std::string& words) {
    return Error{Code::kKmsKeyDisabled, 0,
                 uri.name + " at " + uri.host + ": its newest version " + words +
                     "; see az keyvault key list-versions"};
  };
  // A disabled key goes on wrapping at Azure, and unwraps nothing.
  if (!enabled) return error("is disabled");
  if (not_before && now + kSkew < *not_before) return error("is not valid yet (nbf)");
  if (expires && now - kSkew >= *expires) return error("has expired (exp)");
  return {};
}

Result<AzureWrapped> AzureWrapped::parse(Bytes wrapped) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  const Error corrupt{Code::kCorrupt, 0, "wrapped key is not one of Azure's"};
  if (wrapped.size() <= kHead) return corrupt;
  AzureWrapped out;
  out.version = as_text(wrapped.subspan(2, kVersionSize));
  if (!is_azure_version(out.version)) return corrupt;
  const Bytes rest = wrapped.subspan(kHead);
  if (wrapped[1] == static_cast<std::uint8_t>(Kind::kHsm)) {
    if (rest.size() != kAzureIv + kAzureTag + kWrappedKeySize) return corrupt;
    out.kind = Kind::kHsm;
    out.iv = rest.first(kAzureIv);
    out.tag = rest.subspan(kAzureIv, kAzureTag);
    out.sealed = rest.last(kWrappedKeySize);
    return out;
  }
  if (wrapped[1] != static_cast<std::uint8_t>(Kind::kVault) || rest.size() < kVaultHead)
    return corrupt;
  const std::size_t length = load_le<std::uint16_t>(rest, 0);
  const bool is_rsa = length == 256 || length == 384 || length == 512;
  if (!is_rsa || rest.size() != kVaultHead + length + kBox + kEs256SignatureSize) return corrupt;
  out.signer = as_text(rest.subspan(2, kVersionSize));
  if (!is_azure_version(out.signer)) return corrupt;
  out.sealed = rest.subspan(kVaultHead, length);
  out.box = rest.subspan(kVaultHead + length, kBox);
  out.signature = rest.last(kEs256SignatureSize);
  return out;
}

ByteWriter AzureWrapped::begin() const {
  ByteWriter out;
  out.le(kFormat).le(static_cast<std::uint8_t>(kind)).text(version);
  if (kind == Kind::kHsm) out.bytes(iv).bytes(tag).bytes(sealed);
  if (kind == Kind::kVault)
    out.le(static_cast<std::uint16_t>(sealed.size())).text(signer).bytes(sealed).bytes(box);
  return out;
}

ByteVector AzureWrapped::encode() const { return begin().bytes(signature).take(); }

ByteVector AzureWrapped::statement(const KeyContext& context) const {
  return ByteWriter().text(kStatement).bytes(context.encode()).bytes(begin().data()).take();
}

}  // namespace coffer
