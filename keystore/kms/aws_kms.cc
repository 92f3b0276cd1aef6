#include "keystore/kms/aws_kms.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/node_settings.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tls_told.h"

namespace coffer {
namespace {

constexpr std::chrono::seconds kTimeout{8};

AwsSession::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

/// {"NAME":"VALUE",…}; a value of '{' on is JSON already. None needs escapes.
SecretBytes request(std::initializer_list<std::pair<std::string_view, Bytes>> members) {
  SecretBytes text = secret_text({as_bytes("{")});
  for (const auto& [name, value] : members) {
    const std::string_view quote = !value.empty() && value[0] == '{' ? "" : "\"";
    text = secret_text({text.expose(), as_bytes(text.size() > 1 ? ",\"" : "\""), as_bytes(name),
                        as_bytes("\":"), as_bytes(quote), value, as_bytes(quote)});
  }
  return secret_text({text.expose(), as_bytes("}")});
}

Code code_of(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, Code>, 20> kKnown = {
      {{"InvalidCiphertextException", Code::kCorrupt},
       {"IncorrectKeyException", Code::kWrongKey},
       {"NotFoundException", Code::kKmsKeyMissing},
       {"InvalidArnException", Code::kKmsKeyMissing},
       {"DisabledException", Code::kKmsKeyDisabled},
       {"KMSInvalidStateException", Code::kKmsKeyDisabled},
       {"AccessDeniedException", Code::kKmsDenied},
       {"AccessDenied", Code::kKmsDenied},
       {"NotAuthorized", Code::kKmsDenied},
       {"OptInRequired", Code::kKmsDenied},
       {"ExpiredTokenException", Code::kKmsDenied},
       {"ExpiredToken", Code::kKmsDenied},
       {"UnrecognizedClientException", Code::kKmsDenied},
       {"InvalidClientTokenId", Code::kKmsDenied},
       {"InvalidSignatureException", Code::kKmsDenied},
       {"SignatureDoesNotMatch", Code::kKmsDenied},
       {"IncompleteSignatureException", Code::kKmsDenied},
       {"MissingAuthenticationTokenException", Code::kKmsDenied},
       {"RequestExpired", Code::kKmsDenied},
       {"RequestTimeTooSkewed", Code::kKmsDenied}}};
  for (const auto& [known, code] : kKnown) {
    if (known == name) return code;
  }
  return Code::kKmsUnavailable;
}

/// What is known of a cause, and what to do.
std::string remedy_of(Code code, const std::string& name) {
  if (name == "InvalidSignatureException" || name == "SignatureDoesNotMatch" ||
      name.starts_with("Request"))
    return "AWS does not take our signature: the secret access key is another one, or this "
           "node's clock is far off";
  if (name == "AccessDeniedException")
    return "AWS refuses it: neither the key's policy nor this node's allows it; see "
           "keystore/AWS.md";
  switch (code) {
    case Code::kWrongKey:
      return "another key than this one wrapped it";
    case Code::kKmsKeyMissing:
      return "no such key is there; make one: aws kms create-key";
    case Code::kKmsKeyDisabled:
      return "the key may not be used now: it is disabled, or waits for its deletion";
    case Code::kKmsDenied:
      return "AWS does not take this node's credentials; see keystore/AWS.md";
    default:
      return "AWS can't answer now";
  }
}

}  // namespace

AwsKms::AwsKms(AwsKeyArn arn, AwsSettings settings)
    : arn_(std::move(arn)), session_(std::move(settings), arn_.region) {}

Error AwsKms::error(Code code, const std::string& words) const {
  return {code, 0, arn_.uri() + ": " + words};
}

Result<std::unique_ptr<AwsKms>> AwsKms::on_this_node(AwsKeyArn arn) {
  AwsSettings settings = TRY(AwsSettings::of_this_node());
  if (!settings.keys.empty() && !lies_under(arn.text, settings.keys, ':'))
    return unusable_aws(arn.uri() + ": none of the keys that this node uses (COFFER_AWS_KEYS)");
  // Others run what answers there.
  const std::string_view ours = settings.region.empty() ? "aws" : aws_partition_of(settings.region);
  if (settings.kms_endpoint.empty() && ours != arn.partition) {
    return Error{Code::kKeyUnavailable, 0,
                 arn.uri() + ": this node is of partition " + std::string(ours) +
                     ", and no other is shown its credentials; if it is to be this one, set "
                     "AWS_REGION to one of its regions"};
  }
  return std::unique_ptr<AwsKms>(new AwsKms(std::move(arn), std::move(settings)));
}

Error AwsKms::failure(const HttpResponse& response, const std::string& operation) const {
  const std::string name = aws_error_name(response);
  const Code code = code_of(name);
  if (code == Code::kCorrupt) return {code, 0, "wrapped key does not authenticate"};
  return error(code, remedy_of(code, name) + " (" + operation + ": " +
                         std::to_string(response.status) + " " + name + ") " + aws_words(response));
}

Result<HttpResponse> AwsKms::ask(const std::string& operation, const SecretBytes& body,
                                 Time until) {
  auto response = TRY(session_.call(operation, body, until));
  if (response.status != 200) return failure(response, operation);
  return response;
}

Result<void> AwsKms::check_is_ours(const nlohmann::json& answer, const char* member) const {
  if (json_text(answer, member).empty())
    return error(Code::kKmsUnavailable, "AWS answers with what is none of its answers");
  if (json_text(answer, member) != arn_.text)
    return error(Code::kWrongKey, "another key than this one has answered");
  return {};
}

Result<AwsKey> AwsKms::read_key(Time until) {
  const auto response = TRY(ask("DescribeKey", request({{"KeyId", as_bytes(arn_.text)}}), until));
  const auto key = AwsKey::from(response.body.expose());
  if (!key) return error(Code::kKmsUnavailable, "AWS answers with what describes no key");
  // Of an alias, the key that it stands for now.
  const auto arn = AwsKeyArn::parse(key->arn);
  const bool fits = arn && arn->key_id == key->id && arn->region == arn_.region &&
                    arn->account == arn_.account && (arn_.is_alias() || arn->text == arn_.text);
  if (!fits) return error(Code::kWrongKey, "another key than this one has answered");
  if (!key->symmetric || key->manager == "AWS") {
    return error(Code::kUnsupported,
                 "not a symmetric key of your own that encrypts and decrypts; make one: aws kms "
                 "create-key --key-spec SYMMETRIC_DEFAULT");
  }
  // While another region becomes a key's primary one, it can be used (AWS KMS, "Key states").
  if (key->state != "Enabled" && key->state != "Updating") {
    const std::string way =
        key->state == "PendingDeletion" ? "cancel-key-deletion, and enable-key" : "enable-key";
    return error(Code::kKmsKeyDisabled,
                 "the key may not be used now: " + without_secrets(key->state) +
                     " (an admin can undo that: aws kms " + way + ")");
  }
  return *key;
}

Result<std::unique_ptr<AwsKms>> AwsKms::create(const std::string& uri) {
  auto master = TRY(on_this_node(TRY(AwsKeyArn::of_uri(uri))));
  const AwsKey key = TRY(master->read_key(deadline()));
  master->arn_ = TRY(AwsKeyArn::parse(key.arn));
  master->version_ = key.fingerprint();
  return master;
}

Result<std::unique_ptr<AwsKms>> AwsKms::open(const MasterKeyRecord& record) {
  AwsKeyArn arn = TRY(AwsKeyArn::of_uri(record.uri));
  if (arn.is_alias())
    return Error{Code::kInvalid, 0, record.uri + ": an alias is nobody's record of a key"};
  auto master = TRY(on_this_node(std::move(arn)));
  const AwsKey key = TRY(master->read_key(deadline()));
  if (key.fingerprint() != record.version)
    return master->error(Code::kWrongKey, "is another key than this keystore's");
  master->version_ = record.version;
  return master;
}

Result<AwsWrapped> AwsKms::wrapped_from(const nlohmann::json& answer, const char* material) const {
  TRY(check_is_ours(answer, "KeyId"));
  const auto blob = from_secret_base64(as_bytes(json_text(answer, "CiphertextBlob")));
  AwsWrapped wrapped{material == nullptr ? "" : json_text(answer, material), {}};
  if (blob) wrapped.blob.assign(blob->expose().begin(), blob->expose().end());
  const bool odd = !wrapped.material.empty() && !is_aws_material(wrapped.material);
  // As whoever unwraps it will see it.
  if (odd || !AwsWrapped::parse(wrapped.encode()))
    return error(Code::kKmsUnavailable, "AWS answers with what is no wrapped key");
  return wrapped;
}

Result<ByteVector> AwsKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  const std::string place = aws_encryption_context(context);
  const auto response = TRY(ask("Encrypt",
                                request({{"KeyId", as_bytes(arn_.text)},
                                         {"Plaintext", to_secret_base64(key.expose()).expose()},
                                         {"EncryptionContext", as_bytes(place)}}),
                                deadline()));
  return TRY(wrapped_from(json_object(response.body.expose()), "KeyMaterialId")).encode();
}

Result<SecretBytes> AwsKms::unwrap(Bytes wrapped, const KeyContext& context) {
  const AwsWrapped parsed = TRY(AwsWrapped::parse(wrapped));
  const std::string place = aws_encryption_context(context);
  auto response = TRY(ask("Decrypt",
                          request({{"KeyId", as_bytes(arn_.text)},
                                   {"CiphertextBlob", to_secret_base64(parsed.blob).expose()},
                                   {"EncryptionContext", as_bytes(place)}}),
                          deadline()));
  const auto text = take_secret_member(response.body.expose(), "Plaintext");
  if (!text) return error(Code::kKmsUnavailable, "AWS answers with what is no key");
  const auto answer = json_object(response.body.expose());
  TRY(check_is_ours(answer, "KeyId"));
  auto key = from_secret_base64(text->expose());
  if (!key || !answer.contains("Plaintext"))
    return error(Code::kKmsUnavailable, "AWS answers with what is no key");
  const std::string material = json_text(answer, "KeyMaterialId");
  if (!parsed.material.empty() && !material.empty() && parsed.material != material)
    return Error{Code::kCorrupt, 0, "wrapped key names another key material than its own"};
  return check_unwrapped(*std::move(key));
}

Result<ByteVector> AwsKms::rewrap(Bytes wrapped, const KeyContext& context) {
  const AwsWrapped parsed = TRY(AwsWrapped::parse(wrapped));
  const std::string place = aws_encryption_context(context);
  const auto response = TRY(ask("ReEncrypt",
                                request({{"CiphertextBlob", to_secret_base64(parsed.blob).expose()},
                                         {"SourceKeyId", as_bytes(arn_.text)},
                                         {"SourceEncryptionContext", as_bytes(place)},
                                         {"DestinationKeyId", as_bytes(arn_.text)},
                                         {"DestinationEncryptionContext", as_bytes(place)}}),
                                deadline()));
  const auto answer = json_object(response.body.expose());
  TRY(check_is_ours(answer, "SourceKeyId"));
  const std::string material = json_text(answer, "SourceKeyMaterialId");
  if (!parsed.material.empty() && !material.empty() && parsed.material != material)
    return Error{Code::kCorrupt, 0, "wrapped key names another key material than its own"};
  return TRY(wrapped_from(answer, "DestinationKeyMaterialId")).encode();
}

std::string AwsKms::version_of(Bytes wrapped) const {
  const auto parsed = AwsWrapped::parse(wrapped);
  return parsed ? parsed->material : std::string();
}

Result<std::string> AwsKms::newest_version() { return TRY(read_key(deadline())).material; }

Result<std::vector<KmsFact>> AwsKms::inspect() {
  const auto until = deadline();
  const AwsKey key = TRY(read_key(until));
  const std::string we = TRY(session_.identity(until));
  std::vector<KmsFact> facts = {{"key state", key.state},
                                {"origin", key.origin},
                                {"regions", key.multi_region ? "several" : arn_.region},
                                {"we are", we}};
  if (!key.material.empty()) facts.push_back({"newest version", key.material});
  if (const auto tls = TRY(session_.look(until))) add_facts(facts, *tls);
  return facts;
}

MasterKeyRecord AwsKms::describe() const { return {arn_.uri(), version_, ""}; }

Result<std::unique_ptr<MasterKms>> create_aws_master(const std::string& uri,
                                                     const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(AwsKms::create(uri)));
}

Result<std::unique_ptr<MasterKms>> open_aws_master(const MasterKeyRecord& record,
                                                   const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(AwsKms::open(record)));
}

}  // namespace coffer
