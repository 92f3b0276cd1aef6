#include "keystore/kms/azure_kms.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/crypto/box.h"
#include "keystore/crypto/digest.h"
#include "keystore/kms/azure_error.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tls_told.h"

namespace coffer {
namespace {

constexpr std::chrono::seconds kTimeout{8};
constexpr const char* kApi = "?api-version=2025-07-01";
constexpr std::size_t kInnerKey = 32;

BearerTokens::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

Error not_understood(const std::string& uri) {
  return {Code::kKmsUnavailable, 0, uri + ": Azure answers with what is none of its answers"};
}

/// {"alg":ALGORITHM,"value":DIGEST of what is to be signed}
SecretBytes signing_body(Bytes statement) {
  return secret_text({as_bytes(R"({"alg":"PS256","value":")"),
                      as_bytes(to_base64url(sha256(statement))), as_bytes("\"}")});
}

/// The bytes that a member has as base64url; none unless it has that many.
std::optional<ByteVector> bytes_of(const nlohmann::json& object, const char* name,
                                   std::size_t size) {
  auto bytes = from_base64url(json_text(object, name));
  if (!bytes || bytes->size() != size) return std::nullopt;
  return *std::move(bytes);
}

}  // namespace

AzureKms::AzureKms(std::string uri, AzureKeyUri place, AzureSettings settings)
    : uri_(std::move(uri)),
      place_(std::move(place)),
      settings_(std::move(settings)),
      credentials_(settings_),
      http_(settings_.http),
      tokens_(
          [this](BearerTokens::Time until) { return credentials_.get(place_.resource, until); }) {}

Result<std::unique_ptr<AzureKms>> AzureKms::open(const std::string& uri,
                                                 const std::string& version) {
  AzureKeyUri place = TRY(AzureKeyUri::parse(uri));
  AzureSettings settings = TRY(AzureSettings::of_this_node());
  if (std::ranges::find(settings.vaults, place.host) == settings.vaults.end()) {
    return unusable_for_azure(uri + ": this node brings its credentials to the vaults that " +
                              "COFFER_AZURE_VAULTS names alone, and " + place.host +
                              " is none of them");
  }
  auto master = std::unique_ptr<AzureKms>(new AzureKms(uri, std::move(place), std::move(settings)));
  if (version.empty()) {
    master->version_ = TRY(master->take_up());
  } else {
    TRY(master->check_version(version));
    master->version_ = version;
  }
  return master;
}

std::string AzureKms::origin() const {
  return settings_.endpoint.empty() ? "https://" + place_.host : settings_.endpoint;
}

Result<HttpResponse> AzureKms::ask(const std::string& version, const std::string& operation,
                                   const SecretBytes& body, BearerTokens::Time until) {
  constexpr long kUnauthorized = 401;
  const auto send = [&](const SecretBytes& header) -> Result<HttpResponse> {
    HttpRequest request{.method = operation.empty() ? "GET" : "POST",
                        .url = origin() + "/keys/" + place_.name + (version.empty() ? "" : "/") +
                               version + (operation.empty() ? "" : "/") + operation + kApi,
                        .headers = {"Content-Type: application/json"},
                        .secret_header = &header,
                        .body = body.clone()};
    if (!settings_.endpoint.empty()) request.headers.push_back("Host: " + place_.host);
    auto response = TRY(http_.send(request, until));
    if (response.status == kUnauthorized) TRY(check_azure_challenge(response, place_.resource));
    return response;
  };
  auto response = TRY(tokens_.call(send, until));
  if (response.status != 200) {
    const bool opens = operation == "unwrapkey" || operation == "decrypt";
    return azure_failure(response, (operation.empty() ? "get" : operation) + " of " + uri_, opens);
  }
  return response;
}

Result<AzureKey> AzureKms::read_key(const std::string& version, BearerTokens::Time until) {
  const auto response = TRY(ask(version, "", {}, until));
  auto key = AzureKey::from(response.body.expose(), place_);
  if (!key || (!version.empty() && key->version != version)) return not_understood(uri_);
  return *std::move(key);
}

Result<std::string> AzureKms::take_up() {
  const AzureKey key = TRY(read_key("", deadline()));
  TRY(key.check_kind(place_));
  TRY(key.check_usable(place_, Clock().unix_seconds()));
  return key.version;
}

Result<void> AzureKms::check_version(const std::string& version) {
  if (!is_azure_version(version)) {
    return Error{Code::kWrongKey, 0,
                 uri_ + " is another key than this keystore's (" + without_secrets(version) + ")"};
  }
  const auto until = deadline();
  const auto key = read_key(version, until);
  // One that is disabled is there, too; what other versions wrapped may still be unwrapped.
  if (key || key.error().code == Code::kKmsKeyDisabled) return {};
  if (key.error().code != Code::kKmsKeyMissing) return key.error();
  // Versions go with their key alone: one that is there without this has been made anew.
  const auto newest = read_key("", until);
  if (!newest && newest.error().code != Code::kKmsKeyDisabled) return newest.error();
  return Error{Code::kWrongKey, 0,
               uri_ + " is another key than this keystore's: it has no version " + version};
}

Result<ByteVector> AzureKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  const auto until = deadline();
  // Azure wraps by a disabled version, too, and would not unwrap that.
  const AzureKey by = TRY(read_key("", until));
  if (const auto fits = by.check_kind(place_); !fits)
    return Error{Code::kKmsKeyDisabled, 0, fits.error().context};
  TRY(by.check_usable(place_, Clock().unix_seconds()));
  return place_.is_hsm ? wrap_at_hsm(by, key, context, until)
                       : wrap_at_vault(by, key, context, until);
}

Result<ByteVector> AzureKms::wrap_at_vault(const AzureKey& by, const SecretBytes& key,
                                           const KeyContext& context, BearerTokens::Time until) {
  const SecretBytes inner = SecretBytes::random(kInnerKey);
  const ByteVector sealed = by.rsa->seal(inner);
  const ByteVector box = seal_box(inner.expose(), context.encode(), key.expose());
  AzureWrapped parts;
  parts.version = by.version;
  parts.sealed = sealed;
  parts.box = box;
  // Anybody could do the above who knows the public half.
  const ByteVector statement = parts.statement(context);
  const auto response = TRY(ask(by.version, "sign", signing_body(statement), until));
  const auto answer = json_object(response.body.expose());
  const auto signature = bytes_of(answer, "value", by.rsa->size());
  if (place_.version_named(json_text(answer, "kid")) != by.version || !signature ||
      !by.rsa->has_signed(statement, *signature))
    return not_understood(uri_);
  parts.signature = *signature;
  return parts.encode();
}

Result<ByteVector> AzureKms::wrap_at_hsm(const AzureKey& by, const SecretBytes& key,
                                         const KeyContext& context, BearerTokens::Time until) {
  const SecretBytes body = secret_text(
      {as_bytes(R"({"alg":"A256GCM","value":")"), to_secret_base64url(key.expose()).expose(),
       as_bytes(R"(","aad":")"), to_secret_base64url(context.encode()).expose(), as_bytes("\"}")});
  const auto response = TRY(ask(by.version, "encrypt", body, until));
  const auto answer = json_object(response.body.expose());
  const auto sealed = bytes_of(answer, "value", kWrappedKeySize);
  const auto iv = bytes_of(answer, "iv", kAzureIv);
  const auto tag = bytes_of(answer, "tag", kAzureTag);
  if (place_.version_named(json_text(answer, "kid")) != by.version || !sealed || !iv || !tag)
    return not_understood(uri_);
  AzureWrapped parts;
  parts.kind = AzureWrapped::Kind::kHsm;
  parts.version = by.version;
  parts.sealed = *sealed;
  parts.iv = *iv;
  parts.tag = *tag;
  return parts.encode();
}

Error AzureKms::without_version(const Error& error, BearerTokens::Time until) {
  if (error.code != Code::kKmsKeyMissing) return error;
  // Versions go with their key alone: it never had this one if it is there.
  const auto newest = read_key("", until);
  if (newest || newest.error().code == Code::kKmsKeyDisabled)
    return {Code::kCorrupt, 0, "wrapped key names a version that its master key has not"};
  return newest.error();
}

Result<RsaPublicKey> AzureKms::public_half(const std::string& version, BearerTokens::Time until) {
  {
    const MutexLock lock(mutex_);
    if (const auto found = public_halves_.find(version); found != public_halves_.end())
      return found->second;
  }
  const auto key = read_key(version, until);
  if (!key) return without_version(key.error(), until);
  if (!key->rsa) return Error{Code::kCorrupt, 0, "wrapped key names a version that wraps none"};
  const MutexLock lock(mutex_);
  return public_halves_.emplace(version, *key->rsa).first->second;
}

Result<SecretBytes> AzureKms::opened(const std::string& version, const std::string& operation,
                                     const SecretBytes& body, BearerTokens::Time until) {
  auto response = ask(version, operation, body, until);
  if (!response) return without_version(response.error(), until);
  const auto text = take_secret_member(response->body.expose(), "value");
  if (!text) return not_understood(uri_);
  const auto answer = json_object(response->body.expose());
  auto value = from_secret_base64url(text->expose());
  if (!answer.contains("value") || !value ||
      place_.version_named(json_text(answer, "kid")) != version)
    return not_understood(uri_);
  return value;
}

Result<SecretBytes> AzureKms::unwrap_at_vault(const AzureWrapped& parts, const KeyContext& context,
                                              BearerTokens::Time until) {
  const Error corrupt{Code::kCorrupt, 0, "wrapped key does not authenticate"};
  // Whoever knows the public half can have sealed anything, and signed nothing.
  const RsaPublicKey half = TRY(public_half(parts.version, until));
  if (!half.has_signed(parts.statement(context), parts.signature)) return corrupt;
  const SecretBytes inner =
      TRY(opened(parts.version, "unwrapkey",
                 secret_text({as_bytes(R"({"alg":"RSA-OAEP-256","value":")"),
                              to_secret_base64url(parts.sealed).expose(), as_bytes("\"}")}),
                 until));
  if (inner.size() != kInnerKey) return corrupt;
  return open_box(inner.expose(), context.encode(), parts.box);
}

Result<SecretBytes> AzureKms::unwrap_at_hsm(const AzureWrapped& parts, const KeyContext& context,
                                            BearerTokens::Time until) {
  const auto field = [](Bytes bytes) { return to_secret_base64url(bytes); };
  return opened(
      parts.version, "decrypt",
      secret_text({as_bytes(R"({"alg":"A256GCM","value":")"), field(parts.sealed).expose(),
                   as_bytes(R"(","iv":")"), field(parts.iv).expose(), as_bytes(R"(","tag":")"),
                   field(parts.tag).expose(), as_bytes(R"(","aad":")"),
                   field(context.encode()).expose(), as_bytes("\"}")}),
      until);
}

Result<SecretBytes> AzureKms::unwrap(Bytes wrapped, const KeyContext& context) {
  const AzureWrapped parts = TRY(AzureWrapped::parse(wrapped));
  if ((parts.kind == AzureWrapped::Kind::kHsm) != place_.is_hsm)
    return Error{Code::kCorrupt, 0, "wrapped key is of another kind than its master key"};
  return check_unwrapped(TRY(place_.is_hsm ? unwrap_at_hsm(parts, context, deadline())
                                           : unwrap_at_vault(parts, context, deadline())));
}

std::string AzureKms::version_of(Bytes wrapped) const {
  const auto parts = AzureWrapped::parse(wrapped);
  return parts ? parts->version : std::string();
}

Result<std::string> AzureKms::newest_version() { return TRY(read_key("", deadline())).version; }

Result<std::vector<KmsFact>> AzureKms::inspect() {
  const auto until = deadline();
  const AzureKey key = TRY(read_key("", until));
  std::vector<KmsFact> facts = {{"newest version", key.version},
                                {"made at", format_time(key.created)},
                                {"its state", key.enabled ? "enabled" : "disabled"},
                                {"key type", without_secrets(key.type)}};
  if (key.expires) facts.push_back({"expires", format_time(*key.expires)});
  facts.push_back({"we are", credentials_.identity()});
  if (const auto tls = TRY(http_.look(origin(), until))) add_facts(facts, *tls);
  return facts;
}

MasterKeyRecord AzureKms::describe() const { return {uri_, version_, ""}; }

Result<std::unique_ptr<MasterKms>> create_azure_master(const std::string& uri,
                                                       const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(AzureKms::open(uri, "")));
}

Result<std::unique_ptr<MasterKms>> open_azure_master(const MasterKeyRecord& record,
                                                     const PassphraseSource& /*passphrase*/) {
  if (record.version.empty())
    return Error{Code::kCorrupt, 0, "version of the master key: not one of Azure's"};
  return std::unique_ptr<MasterKms>(TRY(AzureKms::open(record.uri, record.version)));
}

}  // namespace coffer
