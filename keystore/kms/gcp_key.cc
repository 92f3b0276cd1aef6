#include "keystore/kms/gcp_key.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/crypto/digest.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/master_kms.h"

namespace coffer {
namespace {

constexpr std::string_view kScheme = "gcp-kms://";
constexpr std::string_view kVersions = "/cryptoKeyVersions/";
constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kCheck = 16;
constexpr std::size_t kHead = 1 + 4;
constexpr std::size_t kCheckKey = 32;

bool is_letter_or_digit(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9');
}

/// Letters, digits and what else is named, the first no punctuation.
bool is_word(std::string_view text, std::string_view others) {
  return !text.empty() && text.size() <= 100 && is_letter_or_digit(text[0]) &&
         std::ranges::all_of(text, [others](char letter) {
           return is_letter_or_digit(letter) || others.find(letter) != std::string_view::npos;
         });
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_word("x" + std::string(text), "-_");
}

/// Takes "NAME/VALUE" and the slash after it from the front of `path`; the value.
std::string_view take(std::string_view& path, std::string_view name) {
  if (!path.starts_with(name) || path.substr(name.size()).substr(0, 1) != "/") return {};
  path.remove_prefix(name.size() + 1);
  const std::size_t slash = path.find('/');
  const std::string_view value = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  // One that ends in a slash has nothing after it.
  return slash != std::string_view::npos && path.empty() ? std::string_view() : value;
}

bool is_number(std::string_view text) {
  return std::ranges::all_of(text, [](char digit) { return digit >= '0' && digit <= '9'; });
}

ByteVector head(std::uint32_t version) { return ByteWriter().le(kFormat).le(version).take(); }

}  // namespace

Result<GcpKeyUri> GcpKeyUri::parse(const std::string& uri) {
  const Error malformed{Code::kInvalid, 0,
                        "not gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K (and nothing "
                        "more: credentials and settings are the node's own, see keystore/GCP.md)"};
  if (!uri.starts_with(kScheme)) return malformed;
  std::string_view rest = std::string_view(uri).substr(kScheme.size());
  GcpKeyUri out;
  out.name = rest;
  const std::string_view project = take(rest, "projects");
  const std::string_view location = take(rest, "locations");
  const std::string_view ring = take(rest, "keyRings");
  const std::string_view key = take(rest, "cryptoKeys");
  if (!rest.empty() || !is_word(project, "-.:") || !is_word(location, "-") || !is_name(ring) ||
      !is_name(key))
    return malformed;
  out.project = project;
  out.key = key;
  return out;
}

std::optional<std::uint32_t> GcpKeyUri::version_named(std::string_view full_name) const {
  constexpr std::string_view kProjects = "projects/";
  if (!full_name.starts_with(kProjects)) return std::nullopt;
  full_name.remove_prefix(kProjects.size());
  const std::string_view named = full_name.substr(0, full_name.find('/'));
  if (named != project && !is_number(named) && !is_number(project)) return std::nullopt;
  full_name.remove_prefix(named.size());
  const std::string_view rest = std::string_view(name).substr(kProjects.size() + project.size());
  if (!full_name.starts_with(rest)) return std::nullopt;
  full_name.remove_prefix(rest.size());
  if (!full_name.starts_with(kVersions)) return std::nullopt;
  full_name.remove_prefix(kVersions.size());
  std::uint32_t number = 0;
  const char* const end = full_name.data() + full_name.size();
  const auto [stop, failure] = std::from_chars(full_name.data(), end, number);
  if (failure != std::errc() || stop != end || number == 0 || full_name[0] == '0')
    return std::nullopt;
  return number;
}

std::optional<GcpKey> GcpKey::from(Bytes body, const GcpKeyUri& uri) {
  const auto json = json_object(body);
  GcpKey key;
  key.purpose = json_text(json, "purpose");
  key.created_at = json_text(json, "createTime");
  // It is on record, and in messages.
  if (key.purpose.empty() || !is_word(key.created_at, "-:.+")) return std::nullopt;
  const auto primary = json_member(json, "primary");
  if (primary.is_null()) return key;
  if (!primary.is_object()) return std::nullopt;
  key.primary = uri.version_named(json_text(primary, "name"));
  if (!key.primary) return std::nullopt;
  key.state = json_text(primary, "state");
  key.protection_level = json_text(primary, "protectionLevel");
  key.algorithm = json_text(primary, "algorithm");
  return key;
}

Result<GcpWrapped> GcpWrapped::parse(Bytes wrapped) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  const std::size_t before = kHead + kCheck;
  const Error corrupt{Code::kCorrupt, 0, "wrapped key is not one of Google's"};
  if (wrapped.size() <= before || wrapped.size() > before + kMostCiphertext) return corrupt;
  GcpWrapped out{load_le<std::uint32_t>(wrapped, 1), wrapped.subspan(kHead, kCheck),
                 wrapped.subspan(before)};
  if (out.version == 0) return corrupt;
  return out;
}

SecretBytes gcp_plaintext(const SecretBytes& key) {
  SecretBytes plaintext = SecretBytes::random(key.size() + kCheckKey);
  std::ranges::copy(key.expose(), plaintext.expose().begin());
  return plaintext;
}

ByteVector gcp_wrapped(const SecretBytes& plaintext, std::uint32_t version, Bytes ciphertext) {
  const ByteVector begin = head(version);
  const Digest check = HmacKey(plaintext.expose().last(kCheckKey)).mac(begin);
  return ByteWriter().bytes(begin).bytes(Bytes(check).first(kCheck)).bytes(ciphertext).take();
}

Result<SecretBytes> gcp_unwrapped(const SecretBytes& plaintext, const GcpWrapped& wrapped) {
  const Error corrupt{Code::kCorrupt, 0, "wrapped key does not authenticate"};
  if (plaintext.size() != kWrappedKeySize + kCheckKey) return corrupt;
  const HmacKey check(plaintext.expose().last(kCheckKey));
  if (!check.verify(head(wrapped.version), wrapped.check)) return corrupt;
  return SecretBytes::copy_of(plaintext.expose().first(kWrappedKeySize));
}

}  // namespace coffer
