#include "keystore/kms/gcp_kms.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/kms/crc32c.h"
#include "keystore/kms/gcp_error.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/node_settings.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tls_told.h"

namespace coffer {
namespace {

constexpr std::chrono::seconds kTimeout{8};

BearerTokens::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

Error not_understood(const std::string& uri) {
  return {Code::kKmsUnavailable, 0, uri + ": Google answers with what is none of its answers"};
}

Error damaged(const std::string& uri) {
  return {Code::kKmsUnavailable, 0, uri + ": a checksum does not match: damaged on the way"};
}

/// As its text, which says something of the bytes.
SecretBytes checksum(Bytes data) {
  std::array<char, 10> digits{};
  const auto [end, failure] =
      std::to_chars(digits.data(), digits.data() + digits.size(), crc32c(data));
  SecretBytes text = SecretBytes::copy_of(
      as_bytes({digits.data(), static_cast<std::size_t>(end - digits.data())}));
  wipe({reinterpret_cast<std::uint8_t*>(digits.data()), digits.size()});
  return text;
}

/// {"NAME":BASE64,"NAMECrc32c":DIGITS,"additionalAuthenticatedData":…}
SecretBytes request_of(std::string_view name, Bytes data, const KeyContext& context) {
  const auto aad = context.encode();
  return secret_text(
      {as_bytes("{\""), as_bytes(name), as_bytes("\":\""), to_secret_base64(data).expose(),
       as_bytes("\",\""), as_bytes(name), as_bytes("Crc32c\":\""), checksum(data).expose(),
       as_bytes(R"(","additionalAuthenticatedData":")"), to_secret_base64(aad).expose(),
       as_bytes(R"(","additionalAuthenticatedDataCrc32c":")"), checksum(aad).expose(),
       as_bytes("\"}")});
}

bool is_true(const nlohmann::json& object, const char* name) {
  const auto value = object.value(name, nlohmann::json());
  return value.is_boolean() && value.get<bool>();
}

}  // namespace

GcpKms::GcpKms(std::string uri, GcpKeyUri place, GcpSettings settings)
    : uri_(std::move(uri)),
      place_(std::move(place)),
      settings_(std::move(settings)),
      credentials_(settings_),
      http_(settings_.http),
      tokens_([this](BearerTokens::Time until) { return credentials_.get(until); }) {}

Result<std::unique_ptr<GcpKms>> GcpKms::open(const std::string& uri, const std::string& version) {
  GcpKeyUri place = TRY(GcpKeyUri::parse(uri));
  GcpSettings settings = TRY(GcpSettings::of_this_node());
  if (!settings.keys.empty() && !lies_under(place.name, settings.keys, '/'))
    return unusable_for_gcp(uri + ": none of the keys that this node uses (COFFER_GCP_KEYS)");
  auto master = std::unique_ptr<GcpKms>(new GcpKms(uri, std::move(place), std::move(settings)));
  master->version_ = TRY(master->check_key(version));
  return master;
}

Result<HttpResponse> GcpKms::ask(const std::string& operation, const SecretBytes& body,
                                 BearerTokens::Time until) {
  const auto send = [&](const SecretBytes& header) {
    HttpRequest request{.method = operation.empty() ? "GET" : "POST",
                        .url = settings_.endpoint + "/v1/" + place_.name +
                               (operation.empty() ? "" : ":") + operation,
                        .headers = {"Content-Type: application/json"},
                        .secret_header = &header,
                        .body = body.clone()};
    if (!settings_.quota_project.empty())
      request.headers.push_back("x-goog-user-project: " + settings_.quota_project);
    return http_.send(request, until);
  };
  auto response = TRY(tokens_.call(send, until));
  if (response.status != 200)
    return gcp_failure(response, (operation.empty() ? "get" : operation) + " of " + uri_);
  return response;
}

Result<GcpKey> GcpKms::read_key(BearerTokens::Time until) {
  const auto response = TRY(ask("", {}, until));
  auto key = GcpKey::from(response.body.expose(), place_);
  if (!key) return not_understood(uri_);
  return *std::move(key);
}

Result<std::string> GcpKms::check_key(const std::string& version) {
  const GcpKey key = TRY(read_key(deadline()));
  if (key.purpose != "ENCRYPT_DECRYPT") {
    return Error{Code::kUnsupported, 0,
                 uri_ +
                     ": not a key for symmetric encryption; make one: gcloud kms keys create "
                     "NAME --purpose=encryption --keyring=RING --location=LOCATION"};
  }
  std::string found = place_.key + ":" + key.created_at;
  if (version.empty()) {
    // One that is open may still unwrap what other versions wrapped.
    if (!key.primary || key.state != "ENABLED") {
      return Error{Code::kKmsKeyDisabled, 0,
                   uri_ +
                       ": its primary version is not enabled; see gcloud kms keys versions "
                       "list"};
    }
    return found;
  }
  if (version != found) {
    return Error{Code::kWrongKey, 0,
                 uri_ + " is another key than this keystore's (" + without_secrets(version) + ")"};
  }
  return found;
}

Result<ByteVector> GcpKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  const SecretBytes plaintext = gcp_plaintext(key);
  const auto response =
      TRY(ask("encrypt", request_of("plaintext", plaintext.expose(), context), deadline()));
  const auto answer = json_object(response.body.expose());
  const auto version = place_.version_named(json_text(answer, "name"));
  const auto sealed = from_secret_base64(as_bytes(json_text(answer, "ciphertext")));
  if (!version || !sealed || sealed->empty() || sealed->size() > GcpWrapped::kMostCiphertext)
    return not_understood(uri_);
  // Without these Google has not looked at ours.
  if (!is_true(answer, "verifiedPlaintextCrc32c") ||
      !is_true(answer, "verifiedAdditionalAuthenticatedDataCrc32c") ||
      json_text(answer, "ciphertextCrc32c") != as_text(checksum(sealed->expose()).expose()))
    return damaged(uri_);
  return gcp_wrapped(plaintext, *version, sealed->expose());
}

Result<SecretBytes> GcpKms::unwrap(Bytes wrapped, const KeyContext& context) {
  const GcpWrapped parts = TRY(GcpWrapped::parse(wrapped));
  auto response =
      TRY(ask("decrypt", request_of("ciphertext", parts.ciphertext, context), deadline()));
  const auto text = take_secret_member(response.body.expose(), "plaintext");
  const auto sum = take_secret_member(response.body.expose(), "plaintextCrc32c");
  if (!text || !sum) return not_understood(uri_);
  const auto answer = json_object(response.body.expose());
  if (!answer.contains("plaintext") || !answer.contains("plaintextCrc32c"))
    return not_understood(uri_);
  const auto plaintext = from_secret_base64(text->expose());
  if (!plaintext) return not_understood(uri_);
  if (!constant_time_equal(checksum(plaintext->expose()).expose(), sum->expose()))
    return damaged(uri_);
  return gcp_unwrapped(*plaintext, parts);
}

std::string GcpKms::version_of(Bytes wrapped) const {
  const auto parts = GcpWrapped::parse(wrapped);
  return parts ? std::to_string(parts->version) : std::string();
}

Result<std::string> GcpKms::newest_version() {
  const GcpKey key = TRY(read_key(deadline()));
  if (!key.primary)
    return Error{Code::kKmsKeyDisabled, 0, uri_ + ": it has no primary version to wrap with"};
  return std::to_string(*key.primary);
}

Result<std::vector<KmsFact>> GcpKms::inspect() {
  const auto until = deadline();
  const GcpKey key = TRY(read_key(until));
  std::vector<KmsFact> facts = {{"key made at", key.created_at}};
  if (key.primary) {
    facts.push_back({"newest version", std::to_string(*key.primary)});
    facts.push_back({"its state", key.state});
    facts.push_back({"algorithm", key.algorithm});
    facts.push_back({"protection level", key.protection_level});
  }
  if (const auto identity = credentials_.identity(until)) facts.push_back({"we are", *identity});
  if (const auto tls = TRY(http_.look(settings_.endpoint, until))) add_facts(facts, *tls);
  return facts;
}

MasterKeyRecord GcpKms::describe() const { return {uri_, version_, ""}; }

Result<std::unique_ptr<MasterKms>> create_gcp_master(const std::string& uri,
                                                     const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(GcpKms::open(uri, "")));
}

Result<std::unique_ptr<MasterKms>> open_gcp_master(const MasterKeyRecord& record,
                                                   const PassphraseSource& /*passphrase*/) {
  if (record.version.empty())
    return Error{Code::kCorrupt, 0, "version of the master key: not one of Google's"};
  return std::unique_ptr<MasterKms>(TRY(GcpKms::open(record.uri, record.version)));
}

}  // namespace coffer
