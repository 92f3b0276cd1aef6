#include "keystore/kms/vault_kms.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tls_told.h"
#include "keystore/kms/vault_key.h"

namespace coffer {
namespace {

constexpr std::string_view kScheme = "hcvault://";
constexpr std::string_view kKeys = "/keys/";
constexpr unsigned kDefaultPort = 8200;
constexpr std::uint8_t kFormat = 1;
constexpr std::chrono::seconds kTimeout{8};

VaultSession::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

bool is_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && std::ranges::all_of(text, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '-' || letter == '_' || letter == '.';
  });
}

/// Names with slashes between them.
bool is_path(std::string_view text) {
  while (true) {
    const std::size_t slash = text.find('/');
    if (!is_name(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

Error not_understood(const std::string& uri) {
  return {Code::kKmsUnavailable, 0, uri + ": Vault answers with what is none of its answers"};
}

/// What an answer holds; an empty object if that is none of Vault's.
nlohmann::json data_of(const HttpResponse& response) {
  auto data = json_member(json_object(response.body.expose()), "data");
  return data.is_object() ? data : nlohmann::json::object();
}

SecretBytes quoted(std::string_view name, const SecretBytes& value) {
  return secret_text(
      {as_bytes(R"(")"), as_bytes(name), as_bytes(R"(":")"), value.expose(), as_bytes(R"(")")});
}

SecretBytes wrap_request(const SecretBytes& key, const KeyContext& context) {
  return secret_text({as_bytes("{"), quoted("plaintext", to_secret_base64(key.expose())).expose(),
                      as_bytes(","), quoted("context", to_secret_base64(context.encode())).expose(),
                      as_bytes("}")});
}

Result<SecretBytes> wrapped_request(Bytes wrapped, const KeyContext& context) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  if (wrapped.empty() || !is_vault_ciphertext(as_text(wrapped.subspan(1))))
    return Error{Code::kCorrupt, 0, "wrapped key is not one of Vault's"};
  return secret_text({as_bytes(R"({"ciphertext":")"), wrapped.subspan(1), as_bytes(R"(",)"),
                      quoted("context", to_secret_base64(context.encode())).expose(),
                      as_bytes("}")});
}

/// Of auth/token/lookup-self.
void add_identity(std::vector<KmsFact>& facts, const HttpResponse& self) {
  const auto data = data_of(self);
  const auto name = data.value("display_name", nlohmann::json());
  const auto policies = data.value("policies", nlohmann::json());
  if (name.is_string()) facts.push_back({"we are", name.get<std::string>()});
  if (policies.is_array()) facts.push_back({"policies", policies.dump()});
}

Result<std::vector<SecretBytes>> wrapped_requests(std::span<const WrappedInPlace> keys) {
  std::vector<SecretBytes> items;
  for (const WrappedInPlace& each : keys)
    items.push_back(TRY(wrapped_request(each.wrapped, each.context)));
  return items;
}

}  // namespace

Result<VaultKeyUri> VaultKeyUri::parse(const std::string& uri) {
  const Error malformed{Code::kInvalid, 0,
                        "not hcvault://HOST[:PORT]/MOUNT/keys/NAME (and at most ?namespace=NS: "
                        "tokens and settings are the node's own, see keystore/VAULT.md)"};
  if (!uri.starts_with(kScheme)) return malformed;
  std::string_view rest = std::string_view(uri).substr(kScheme.size());
  VaultKeyUri out;
  if (const std::size_t query = rest.find('?'); query != std::string_view::npos) {
    constexpr std::string_view kNamespace = "namespace=";
    std::string_view given = rest.substr(query + 1);
    if (!given.starts_with(kNamespace)) return malformed;
    given.remove_prefix(kNamespace.size());
    if (!is_path(given)) return malformed;
    out.name_space = given;
    rest = rest.substr(0, query);
  }
  const std::size_t slash = rest.find('/');
  const std::size_t keys = rest.rfind(kKeys);
  if (slash == std::string_view::npos || keys == std::string_view::npos || keys <= slash)
    return malformed;
  const auto host = parse_host(rest.substr(0, slash), kDefaultPort);
  if (!host) return malformed;
  out.host = *host;
  out.mount = rest.substr(slash + 1, keys - slash - 1);
  out.name = rest.substr(keys + kKeys.size());
  if (!is_path(out.mount) || !is_name(out.name)) return malformed;
  return out;
}

VaultKms::VaultKms(std::string uri, VaultKeyUri place, VaultSettings settings)
    : uri_(std::move(uri)), place_(std::move(place)), session_(std::move(settings)) {}

Result<std::unique_ptr<VaultKms>> VaultKms::open(const std::string& uri,
                                                 const std::string& version) {
  VaultKeyUri place = TRY(VaultKeyUri::parse(uri));
  VaultSettings settings = TRY(VaultSettings::of_this_node());
  const std::string host = place.host.host + ":" + std::to_string(place.host.port);
  if (!settings.address.ends_with("//" + host)) {
    return Error{Code::kKeyUnavailable, 0,
                 uri + ": this node's Vault is " + settings.address +
                     ", and no other is told its secrets; if it is to be this one, set VAULT_ADDR "
                     "to https://" +
                     host};
  }
  auto master = std::unique_ptr<VaultKms>(new VaultKms(uri, std::move(place), std::move(settings)));
  master->version_ = TRY(master->check_key(version));
  return master;
}

Error VaultKms::failure(long status, const std::string& words, const std::string& path) const {
  const auto says = [&words](std::string_view what) {
    return words.find(what) != std::string::npos;
  };
  const auto error = [this](Code code, const std::string& what) {
    return Error{code, 0, uri_ + ": " + what};
  };
  if (says("message authentication failed") || says("invalid ciphertext"))
    return {Code::kCorrupt, 0, "wrapped key does not authenticate"};
  if (status == 403) {
    return error(Code::kKmsDenied, "Vault refuses " + path +
                                       " (403): the token has run out, or its policy does not "
                                       "allow it; see keystore/VAULT.md");
  }
  const std::string number = " (" + std::to_string(status) + ")";
  if (is_trouble_of_vaults(status))
    return error(Code::kKmsUnavailable, "Vault can't answer now" + number + ": " + words);
  if (status == 404 || says("encryption key not found") || says("policy not found"))
    return error(Code::kKmsKeyMissing, "no such key is there" + number + " " + words);
  if (says("too old") || says("disallowed by policy")) {
    return error(Code::kKmsKeyDisabled,
                 "the version that wrapped this is below the key's min_decryption_version");
  }
  return error(Code::kKmsUnavailable, "Vault answers " + path + " with" + number + " " + words);
}

Result<VaultKey> VaultKms::read_key() {
  const std::string path = place_.mount + "/keys/" + place_.name;
  const auto response = TRY(session_.call("GET", path, place_.name_space, {}, deadline()));
  if (response.status != 200) {
    Error error = failure(response.status, vault_words(response), path);
    if (error.code == Code::kKmsKeyMissing)
      error.context += "; make one: vault write -f " + path + " type=aes256-gcm96 derived=true";
    return error;
  }
  const auto key = VaultKey::from(response.body.expose());
  if (!key) return not_understood(uri_);
  return *key;
}

Result<std::string> VaultKms::check_key(const std::string& version) {
  const auto key = TRY(read_key());
  if (!key.usable) {
    return Error{Code::kUnsupported, 0,
                 uri_ +
                     ": not a derived key of type aes256-gcm96 or chacha20-poly1305 without "
                     "convergent encryption; make one: vault write -f " +
                     place_.mount + "/keys/" + place_.name + "-2 type=aes256-gcm96 derived=true"};
  }
  if (version.empty()) {
    if (key.given_away) {
      return Error{Code::kUnsupported, 0,
                   uri_ +
                       ": Vault would give this key away; make one that is not exportable and "
                       "has no plaintext backup"};
    }
    const auto& [oldest, made_at] = *key.made_at.begin();
    return VaultFingerprint{place_.name, oldest, made_at}.text();
  }
  const auto fingerprint = VaultFingerprint::parse(version);
  if (!fingerprint)
    return Error{Code::kCorrupt, 0, "version of the master key: not one of Vault's"};
  if (!fingerprint->may_be(place_.name, key)) {
    return Error{Code::kWrongKey, 0,
                 uri_ + " is another key than this keystore's (" + version + ")"};
  }
  return version;
}

Result<HttpResponse> VaultKms::ask(const std::string& operation, SecretBytes body) {
  const std::string path = place_.mount + "/" + operation + "/" + place_.name;
  auto response = TRY(session_.call("POST", path, place_.name_space, std::move(body), deadline()));
  if (response.status != 200) return failure(response.status, vault_words(response), path);
  return response;
}

Result<VaultResults> VaultKms::ask_batch(const std::string& operation,
                                         std::span<const SecretBytes> items) {
  const std::string path = place_.mount + "/" + operation + "/" + place_.name;
  auto response =
      TRY(session_.call("POST", path, place_.name_space, vault_batch_request(items), deadline()));
  auto results = VaultResults::from(response.body.expose(), items.size());
  if (!results && response.status == 200) return not_understood(uri_);
  if (!results) return failure(response.status, vault_words(response), path);
  if (!results->failure.empty()) return failure(response.status, results->failure, path);
  if (response.status != 200) return failure(response.status, vault_words(response), path);
  return *std::move(results);
}

Result<ByteVector> VaultKms::wrapped_from(const std::string& ciphertext) const {
  if (!is_vault_ciphertext(ciphertext)) return not_understood(uri_);
  return ByteWriter().le(kFormat).text(ciphertext).take();
}

Result<std::vector<ByteVector>> VaultKms::wrapped_by(const std::string& operation,
                                                     std::span<const SecretBytes> items) {
  const VaultResults results = TRY(ask_batch(operation, items));
  std::vector<ByteVector> wrapped;
  for (const std::string& ciphertext : results.ciphertexts)
    wrapped.push_back(TRY(wrapped_from(ciphertext)));
  return wrapped;
}

Result<ByteVector> VaultKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  return wrapped_from(
      json_text(data_of(TRY(ask("encrypt", wrap_request(key, context)))), "ciphertext"));
}

Result<std::vector<ByteVector>> VaultKms::wrap_all(std::span<const KeyInPlace> keys) {
  std::vector<SecretBytes> items;
  for (const KeyInPlace& each : keys) {
    TRY(check_wrappable(*each.key));
    items.push_back(wrap_request(*each.key, each.context));
  }
  return wrapped_by("encrypt", items);
}

Result<SecretBytes> VaultKms::unwrap(Bytes wrapped, const KeyContext& context) {
  auto response = TRY(ask("decrypt", TRY(wrapped_request(wrapped, context))));
  const auto text = take_secret_member(response.body.expose(), "plaintext");
  if (!text) return not_understood(uri_);
  if (!data_of(response).contains("plaintext")) return not_understood(uri_);
  auto key = from_secret_base64(text->expose());
  if (!key) return not_understood(uri_);
  return check_unwrapped(*std::move(key));
}

Result<std::vector<SecretBytes>> VaultKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  const VaultResults results = TRY(ask_batch("decrypt", TRY(wrapped_requests(keys))));
  std::vector<SecretBytes> unwrapped;
  for (const SecretBytes& text : results.plaintexts) {
    auto key = from_secret_base64(text.expose());
    if (!key) return not_understood(uri_);
    unwrapped.push_back(TRY(check_unwrapped(*std::move(key))));
  }
  if (unwrapped.size() != keys.size()) return not_understood(uri_);
  return unwrapped;
}

Result<ByteVector> VaultKms::rewrap(Bytes wrapped, const KeyContext& context) {
  return wrapped_from(
      json_text(data_of(TRY(ask("rewrap", TRY(wrapped_request(wrapped, context))))), "ciphertext"));
}

Result<std::vector<ByteVector>> VaultKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  return wrapped_by("rewrap", TRY(wrapped_requests(keys)));
}

std::string VaultKms::version_of(Bytes wrapped) const {
  if (wrapped.empty() || wrapped[0] != kFormat) return {};
  return std::string(version_of_vault_ciphertext(as_text(wrapped.subspan(1))));
}

Result<std::string> VaultKms::newest_version() { return std::to_string(TRY(read_key()).latest); }

Result<std::vector<KmsFact>> VaultKms::inspect() {
  const auto key = TRY(read_key());
  std::vector<KmsFact> facts = {
      {"key type", key.type},
      {"newest version", std::to_string(key.latest)},
      {"oldest version in use", std::to_string(key.made_at.begin()->first)}};
  const auto until = deadline();
  const auto tls = TRY(session_.look(until));
  auto self = TRY(session_.call("GET", "auth/token/lookup-self", "", {}, until));
  // Its "id" is the token. Not every policy lets one ask.
  if (self.status == 200 && take_secret_member(self.body.expose(), "id")) add_identity(facts, self);
  if (tls) add_facts(facts, *tls);
  return facts;
}

MasterKeyRecord VaultKms::describe() const { return {uri_, version_, ""}; }

Result<std::unique_ptr<MasterKms>> create_vault_master(const std::string& uri,
                                                       const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(VaultKms::open(uri, "")));
}

Result<std::unique_ptr<MasterKms>> open_vault_master(const MasterKeyRecord& record,
                                                     const PassphraseSource& /*passphrase*/) {
  if (record.version.empty())
    return Error{Code::kCorrupt, 0, "version of the master key: not one of Vault's"};
  return std::unique_ptr<MasterKms>(TRY(VaultKms::open(record.uri, record.version)));
}

}  // namespace coffer
