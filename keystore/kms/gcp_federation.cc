#include <strings.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/kms/gcp_credentials.h"
#include "keystore/kms/gcp_error.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr const char* kFederatedScope = "https://www.googleapis.com/auth/cloud-platform";
constexpr std::size_t kMostOfSubject = 32 * 1024;
/// Seconds for which an impersonated token may be asked.
constexpr std::int64_t kShortest = 600;
constexpr std::int64_t kLongest = 43200;

/// The token in what a credential source gave: all of it, or the member that its format names.
Result<SecretBytes> subject_in(const GcpCredentialsFile& file, const nlohmann::json& source,
                               SecretBytes given) {
  const auto format = json_member(source, "format");
  const std::string type = json_text(format, "type");
  if (type.empty() || type == "text")
    return secret_line("the subject token of " + file.path, given.expose());
  const std::string field = json_text(format, "subject_token_field_name");
  if (type != "json" || field.empty())
    return file.unusable("has a format of credential_source that is not known");
  const auto token = take_secret_member(given.expose(), field);
  if (!token || token->empty() || !is_plain_text(token->expose()))
    return file.unusable("has a credential_source that gives no " + without_secrets(field));
  return token->clone();
}

Result<SecretBytes> subject_from_url(const HttpClient& http, const GcpCredentialsFile& file,
                                     const nlohmann::json& source, BearerTokens::Time until) {
  HttpRequest request{.url = json_text(source, "url")};
  SecretBytes authorization;
  const auto headers = json_member(source, "headers");
  if (headers.is_object()) {
    for (const auto& [name, value] : headers.items()) {
      const bool plain = value.is_string() && is_plain_text(as_bytes(name)) &&
                         value.get<std::string>().find_first_of("\r\n") == std::string::npos;
      if (!plain) return file.unusable("has headers that can't be sent");
      if (name == "Authorization") {
        const SecretBytes secret = TRY(without_escapes(file.source_authorization.expose()));
        const bool one_line = std::ranges::all_of(
            secret.expose(), [](std::uint8_t byte) { return byte >= ' ' && byte < 0x7f; });
        if (!one_line) return file.unusable("has headers that can't be sent");
        authorization = secret_text({as_bytes("Authorization: "), secret.expose()});
        request.secret_header = &authorization;
      } else if (::strcasecmp(name.c_str(), "Authorization") == 0) {
        return file.unusable("has a header \"Authorization\" in another spelling");
      } else {
        request.headers.push_back(name + ": " + value.get<std::string>());
      }
    }
  }
  auto response = TRY(send_from_file(http, file, std::move(request), until));
  if (response.status == 200) return subject_in(file, source, std::move(response.body));
  const bool refused = response.status == 401 || response.status == 403;
  return Error{refused ? Code::kKmsDenied : Code::kKmsUnavailable, 0,
               "the credential_source of " + file.path + " gives no token (" +
                   std::to_string(response.status) + ")"};
}

Result<SecretBytes> subject_token(const HttpClient& http, const GcpCredentialsFile& file,
                                  BearerTokens::Time until) {
  const auto source = json_member(file.rest, "credential_source");
  const std::string path = json_text(source, "file");
  if (!path.empty()) {
    return subject_in(
        file, source,
        TRY(read_secret_file("subject token file", path, kMostOfSubject, Readers::kAnybody)));
  }
  for (const char* const unknown : {"executable", "environment_id", "certificate"}) {
    if (!json_member(source, unknown).is_null()) {
      return file.unusable(std::string("has a credential_source of the kind ") + unknown +
                           ", which is not supported: file and url are");
    }
  }
  if (!json_text(source, "url").empty()) return subject_from_url(http, file, source, until);
  return file.unusable("has no credential_source with a file or url");
}

Result<BearerToken> exchanged(const HttpClient& http, const GcpCredentialsFile& file,
                              BearerTokens::Time until) {
  const std::string url = TRY(file.text("token_url"));
  const std::string audience = TRY(file.text("audience"));
  const std::string type = TRY(file.text("subject_token_type"));
  const SecretBytes subject = TRY(subject_token(http, file, until));
  const auto form = [](std::string_view text) { return to_secret_form(as_bytes(text)); };
  HttpRequest request{
      .method = "POST",
      .url = url,
      .headers = {"Content-Type: application/x-www-form-urlencoded"},
      .body = secret_text(
          {as_bytes("grant_type="),
           form("urn:ietf:params:oauth:grant-type:token-exchange").expose(),
           as_bytes("&requested_token_type="),
           form("urn:ietf:params:oauth:token-type:access_token").expose(), as_bytes("&scope="),
           form(kFederatedScope).expose(), as_bytes("&audience="), form(audience).expose(),
           as_bytes("&subject_token_type="), form(type).expose(), as_bytes("&subject_token="),
           to_secret_form(subject.expose()).expose()})};
  return BearerToken::from_oauth(TRY(send_from_file(http, file, std::move(request), until)), url);
}

std::int64_t lifetime_of(const GcpCredentialsFile& file) {
  const auto asked = json_member(json_member(file.rest, "service_account_impersonation"),
                                 "token_lifetime_seconds");
  const bool fits = asked.is_number_unsigned() && asked.get<std::uint64_t>() >= kShortest &&
                    asked.get<std::uint64_t>() <= kLongest;
  return fits ? asked.get<std::int64_t>() : kGcpTokenLifetime;
}

/// A token of the service account that `url` names. It lives as long as was asked: by this
/// machine's clock the time of its end may be past.
Result<BearerToken> impersonated(const HttpClient& http, const GcpCredentialsFile& file,
                                 const std::string& url, const BearerToken& federated,
                                 BearerTokens::Time until) {
  const std::int64_t lifetime = lifetime_of(file);
  const nlohmann::json asked = {{"scope", {kGcpScope}},
                                {"lifetime", std::to_string(lifetime) + "s"}};
  HttpRequest request{.method = "POST",
                      .url = url,
                      .headers = {"Content-Type: application/json"},
                      .secret_header = &federated.header,
                      .body = secret_text({as_bytes(asked.dump())})};
  auto response = TRY(send_from_file(http, file, std::move(request), until));
  if (response.status != 200) {
    Error error = gcp_failure(response, "to be the service account of " + file.path);
    // It is no key that is missing.
    if (error.code != Code::kKmsUnavailable) error.code = Code::kKmsDenied;
    return error;
  }
  const Error odd{Code::kKmsUnavailable, 0, url + " answers with what is no access token"};
  const auto token = take_secret_member(response.body.expose(), "accessToken");
  if (!token) return odd;
  auto made = BearerToken::of(token->expose(), std::chrono::seconds(lifetime));
  if (!made) return odd;
  return made;
}

}  // namespace

Result<BearerToken> gcp_federated_token(const HttpClient& http, const GcpCredentialsFile& file,
                                        BearerTokens::Time until) {
  BearerToken federated = TRY(exchanged(http, file, until));
  const std::string url = file.text_or_nothing("service_account_impersonation_url");
  if (url.empty()) return federated;
  return impersonated(http, file, url, federated, until);
}

}  // namespace coffer
