#include "keystore/kms/azure_kms.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/crypto/box.h"
#include "keystore/crypto/digest.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tls_told.h"

namespace coffer {
namespace {

constexpr std::chrono::seconds kTimeout{8};
constexpr std::size_t kInnerKey = 32;

AzureVault::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

SecretBytes signing_body(Bytes statement) {
  return secret_text({as_bytes(R"({"alg":"ES256","value":")"),
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

AzureKms::AzureKms(std::string uri, const AzureKeyUri& place, AzureSettings settings)
    : uri_(std::move(uri)), vault_(place, std::move(settings)), key_{place} {
  if (!place.is_hsm) signer_ = Known{place.signer()};
}

Result<std::unique_ptr<AzureKms>> AzureKms::open(const std::string& uri,
                                                 const std::string& version) {
  const AzureKeyUri place = TRY(AzureKeyUri::parse(uri));
  AzureSettings settings = TRY(AzureSettings::of_this_node());
  if (std::ranges::none_of(settings.keys,
                           [&](const auto& entry) { return place.lies_under(entry); })) {
    return unusable_for_azure(uri + ": this node uses the keys that COFFER_AZURE_KEYS names " +
                              "alone, and this is none of them");
  }
  auto master = std::unique_ptr<AzureKms>(new AzureKms(uri, place, std::move(settings)));
  TRY(version.empty() ? master->take_up() : master->check_versions(version));
  return master;
}

Result<void> AzureKms::take_up() {
  const auto until = deadline();
  const auto now = Clock().unix_seconds();
  const AzureKey key = TRY(vault_.read(key_.place, "", until));
  TRY(key.check_wraps(key_.place));
  TRY(key.check_usable(key_.place, now));
  key_.version = key.version;
  if (!signer_) return {};
  const AzureKey signer = TRY(vault_.read(signer_->place, "", until));
  TRY(signer.check_signs(signer_->place));
  TRY(signer.check_usable(signer_->place, now));
  signer_->version = signer.version;
  return {};
}

Result<void> AzureKms::check_versions(const std::string& versions) {
  const std::size_t colon = versions.find(':');
  key_.version = versions.substr(0, colon);
  if (signer_) signer_->version = colon == std::string::npos ? "" : versions.substr(colon + 1);
  const bool is_one = is_azure_version(key_.version) &&
                      (signer_ ? is_azure_version(signer_->version) : colon == std::string::npos);
  if (!is_one) {
    return Error{Code::kWrongKey, 0,
                 uri_ + " is another key than this keystore's (" + without_secrets(versions) + ")"};
  }
  const auto until = deadline();
  TRY(check_version(key_, until));
  return signer_ ? check_version(*signer_, until) : Result<void>();
}

Result<void> AzureKms::check_version(const Known& key, Time until) {
  const auto found = vault_.read(key.place, key.version, until);
  // One that is disabled is there, too; what other versions wrapped may still be unwrapped.
  if (found || found.error().code == Code::kKmsKeyDisabled) return {};
  return without_version(key, key.version, found.error(), until);
}

Error AzureKms::without_version(const Known& key, const std::string& version, const Error& error,
                                Time until) {
  if (error.code != Code::kKmsKeyMissing) return error;
  const auto missing = [&](const std::string& which) -> std::optional<Error> {
    const auto found = vault_.read(key.place, which, until);
    if (found || found.error().code == Code::kKmsKeyDisabled) return std::nullopt;
    return found.error();
  };
  // Versions go with their key alone.
  if (version != key.version) {
    const auto recorded = missing(key.version);
    if (!recorded)
      return {Code::kCorrupt, 0, "wrapped key names a version that its master key has not"};
    if (recorded->code != Code::kKmsKeyMissing) return *recorded;
  }
  if (const auto newest = missing("")) return *newest;
  return {Code::kWrongKey, 0,
          key.place.name + " at " + key.place.host +
              " is another key than this keystore's: it has no version " + key.version};
}

Result<AzureKey> AzureKms::usable(const Known& key,
                                  Result<void> (AzureKey::*fits)(const AzureKeyUri&) const,
                                  Time until) {
  auto newest = TRY(vault_.read(key.place, "", until));
  if (const auto does = (newest.*fits)(key.place); !does)
    return Error{Code::kKmsKeyDisabled, 0, does.error().context};
  // A version that is disabled may go on encrypting, and opens nothing.
  TRY(newest.check_usable(key.place, Clock().unix_seconds()));
  return newest;
}

Result<ByteVector> AzureKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  return signer_ ? wrap_at_vault(key, context, deadline()) : wrap_at_hsm(key, context, deadline());
}

Result<ByteVector> AzureKms::wrap_at_vault(const SecretBytes& key, const KeyContext& context,
                                           Time until) {
  const AzureKey by = TRY(usable(key_, &AzureKey::check_wraps, until));
  const AzureKey signer = TRY(usable(*signer_, &AzureKey::check_signs, until));
  const SecretBytes inner = SecretBytes::random(kInnerKey);
  const ByteVector sealed = by.rsa->seal(inner);
  const ByteVector box = seal_box(inner.expose(), context.encode(), key.expose());
  AzureWrapped parts;
  parts.version = by.version;
  parts.signer = signer.version;
  parts.sealed = sealed;
  parts.box = box;
  // Anybody could do the above who knows the public half.
  const ByteVector statement = parts.statement(context);
  const auto response =
      TRY(vault_.operate(signer_->place, signer.version, "sign", signing_body(statement), until));
  const auto answer = json_object(response.body.expose());
  const auto signature = bytes_of(answer, "value", kEs256SignatureSize);
  if (signer_->place.version_named(json_text(answer, "kid")) != signer.version || !signature ||
      !signer.p256->has_signed(statement, *signature))
    return not_azures(signer_->place);
  parts.signature = *signature;
  return parts.encode();
}

Result<ByteVector> AzureKms::wrap_at_hsm(const SecretBytes& key, const KeyContext& context,
                                         Time until) {
  const AzureKey by = TRY(usable(key_, &AzureKey::check_wraps, until));
  const SecretBytes body = secret_text(
      {as_bytes(R"({"alg":"A256GCM","value":")"), to_secret_base64url(key.expose()).expose(),
       as_bytes(R"(","aad":")"), to_secret_base64url(context.encode()).expose(), as_bytes("\"}")});
  const auto response = TRY(vault_.operate(key_.place, by.version, "encrypt", body, until));
  const auto answer = json_object(response.body.expose());
  const auto sealed = bytes_of(answer, "value", kWrappedKeySize);
  const auto iv = bytes_of(answer, "iv", kAzureIv);
  const auto tag = bytes_of(answer, "tag", kAzureTag);
  if (key_.place.version_named(json_text(answer, "kid")) != by.version || !sealed || !iv || !tag)
    return not_azures(key_.place);
  AzureWrapped parts;
  parts.kind = AzureWrapped::Kind::kHsm;
  parts.version = by.version;
  parts.sealed = *sealed;
  parts.iv = *iv;
  parts.tag = *tag;
  return parts.encode();
}

Result<P256PublicKey> AzureKms::public_half(const std::string& version, Time until) {
  {
    const MutexLock lock(mutex_);
    if (const auto found = public_halves_.find(version); found != public_halves_.end())
      return found->second;
  }
  const auto key = vault_.read(signer_->place, version, until);
  if (!key) return without_version(*signer_, version, key.error(), until);
  if (!key->p256) return Error{Code::kCorrupt, 0, "wrapped key names a version that signs nothing"};
  const MutexLock lock(mutex_);
  return public_halves_.emplace(version, *key->p256).first->second;
}

Result<SecretBytes> AzureKms::opened(const std::string& version, const std::string& operation,
                                     const SecretBytes& body, Time until) {
  auto response = vault_.operate(key_.place, version, operation, body, until);
  if (!response) return without_version(key_, version, response.error(), until);
  const auto text = take_secret_member(response->body.expose(), "value");
  if (!text) return not_azures(key_.place);
  const auto answer = json_object(response->body.expose());
  auto value = from_secret_base64url(text->expose());
  if (!answer.contains("value") || !value ||
      key_.place.version_named(json_text(answer, "kid")) != version)
    return not_azures(key_.place);
  return value;
}

Result<SecretBytes> AzureKms::unwrap_at_vault(const AzureWrapped& parts, const KeyContext& context,
                                              Time until) {
  const P256PublicKey half = TRY(public_half(parts.signer, until));
  if (!half.has_signed(parts.statement(context), parts.signature))
    return Error{Code::kCorrupt, 0, "wrapped key does not authenticate"};
  // From here on whatever does not fit is not the wrapped key's fault.
  const SecretBytes body =
      secret_text({as_bytes(R"({"alg":"RSA-OAEP-256","value":")"),
                   to_secret_base64url(parts.sealed).expose(), as_bytes("\"}")});
  const SecretBytes inner = TRY(opened(parts.version, "unwrapkey", body, until));
  if (inner.size() != kInnerKey) return not_azures(key_.place);
  auto key = open_box(inner.expose(), context.encode(), parts.box);
  if (!key) return not_azures(key_.place);
  return key;
}

Result<SecretBytes> AzureKms::unwrap_at_hsm(const AzureWrapped& parts, const KeyContext& context,
                                            Time until) {
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
  if ((parts.kind == AzureWrapped::Kind::kVault) != signer_.has_value())
    return Error{Code::kCorrupt, 0, "wrapped key is of another kind than its master key"};
  return check_unwrapped(TRY(signer_ ? unwrap_at_vault(parts, context, deadline())
                                     : unwrap_at_hsm(parts, context, deadline())));
}

std::string AzureKms::version_of(Bytes wrapped) const {
  const auto parts = AzureWrapped::parse(wrapped);
  return parts ? parts->version : std::string();
}

Result<std::string> AzureKms::newest_version() {
  return TRY(vault_.read(key_.place, "", deadline())).version;
}

Result<std::vector<KmsFact>> AzureKms::inspect() {
  const auto until = deadline();
  const AzureKey key = TRY(vault_.read(key_.place, "", until));
  std::vector<KmsFact> facts = {{"newest version", key.version},
                                {"its state", key.enabled ? "enabled" : "disabled"},
                                {"key type", without_secrets(key.type)}};
  if (key.created) facts.push_back({"made at", format_time(*key.created)});
  if (key.expires) facts.push_back({"expires", format_time(*key.expires)});
  if (signer_) {
    const AzureKey signer = TRY(vault_.read(signer_->place, "", until));
    facts.push_back({"key that signs", signer_->place.name});
    facts.push_back({"its newest version", signer.version});
    facts.push_back({"its state", signer.enabled ? "enabled" : "disabled"});
  }
  facts.push_back({"we are", vault_.identity()});
  if (const auto tls = TRY(vault_.look(until))) add_facts(facts, *tls);
  return facts;
}

MasterKeyRecord AzureKms::describe() const {
  return {uri_, signer_ ? key_.version + ":" + signer_->version : key_.version, ""};
}

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
