#include "keystore/kms/gcp_credentials.h"

#include "keystore/kms/gcp_error.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr std::size_t kMostOfFile = 32 * 1024;
constexpr const char* kWhat = "credentials file";
/// Where a user's own refresh token goes.
constexpr const char* kUsersTokenUri = "https://oauth2.googleapis.com/token";

Result<BearerToken> users_token(const HttpClient& http, const GcpCredentialsFile& file,
                                BearerTokens::Time until) {
  const std::string client = TRY(file.text("client_id"));
  if (file.refresh_token.empty() || file.client_secret.empty())
    return file.unusable("holds no refresh_token and client_secret");
  const SecretBytes refresh_token = TRY(without_escapes(file.refresh_token.expose()));
  const SecretBytes secret = TRY(without_escapes(file.client_secret.expose()));
  const std::string named = file.text_or_nothing("token_uri");
  const std::string url = named.empty() ? kUsersTokenUri : named;
  HttpRequest request{
      .method = "POST",
      .url = url,
      .headers = {"Content-Type: application/x-www-form-urlencoded"},
      .body = secret_text({as_bytes("grant_type=refresh_token&client_id="),
                           to_secret_form(as_bytes(client)).expose(), as_bytes("&client_secret="),
                           to_secret_form(secret.expose()).expose(), as_bytes("&refresh_token="),
                           to_secret_form(refresh_token.expose()).expose()})};
  return BearerToken::from_oauth(TRY(send_from_file(http, file, std::move(request), until)), url);
}

/// The account that a URL of IAM's has between "serviceAccounts/" and ":".
std::string account_in(const std::string& url) {
  constexpr std::string_view kBefore = "/serviceAccounts/";
  const std::size_t at = url.find(kBefore);
  if (at == std::string::npos) return {};
  const std::string rest = url.substr(at + kBefore.size());
  return rest.substr(0, rest.find(':'));
}

}  // namespace

Result<GcpCredentialsFile> GcpCredentialsFile::read(const std::string& path) {
  GcpCredentialsFile file;
  file.path = path;
  SecretBytes text = TRY(read_private_file(kWhat, path, kMostOfFile));
  const std::pair<const char*, SecretBytes*> secrets[] = {
      {"private_key", &file.private_key},
      {"refresh_token", &file.refresh_token},
      {"client_secret", &file.client_secret},
      {"Authorization", &file.source_authorization}};
  for (const auto& [name, secret] : secrets) {
    auto taken = take_secret_if_there(text.expose(), name);
    if (!taken) return file.unusable(std::string("has no one text for ") + name);
    *secret = *std::move(taken);
  }
  file.rest = nlohmann::json::parse(as_text(text.expose()), nullptr, false);
  if (!file.rest.is_object()) return file.unusable("is no JSON object");
  const std::string universe = file.text_or_nothing("universe_domain");
  if (!universe.empty() && universe != "googleapis.com")
    return file.unusable("is for another universe_domain than googleapis.com: not supported");
  return file;
}

Result<std::string> GcpCredentialsFile::text(const char* name) const {
  std::string value = text_or_nothing(name);
  if (value.empty()) return unusable(std::string("has no ") + name);
  return value;
}

std::string GcpCredentialsFile::text_or_nothing(const char* name) const {
  return json_text(rest, name);
}

Error GcpCredentialsFile::unusable(const std::string& words) const {
  return unusable_for_gcp(std::string(kWhat) + " " + path + " " + words);
}

Result<HttpResponse> send_from_file(const HttpClient& http, const GcpCredentialsFile& file,
                                    HttpRequest request, BearerTokens::Time until) {
  auto response = http.send(request, until);
  if (!response && response.error().code == Code::kInvalid)
    return file.unusable("names a URL that may not be asked: " + response.error().context);
  return response;
}

GcpCredentials::GcpCredentials(const GcpSettings& settings)
    : file_(settings.credentials_file),
      metadata_host_(settings.metadata_host),
      http_(settings.login_http) {}

Result<BearerToken> GcpCredentials::get(Time until) const {
  if (file_.empty()) return from_metadata(until);
  const GcpCredentialsFile file = TRY(GcpCredentialsFile::read(file_));
  const std::string type = TRY(file.text("type"));
  if (type == "service_account") return gcp_service_account_token(http_, file, until);
  if (type == "external_account") return gcp_federated_token(http_, file, until);
  if (type == "authorized_user") return users_token(http_, file, until);
  return file.unusable("is of a type that is not supported (" + without_secrets(type) +
                       "); service_account, external_account and authorized_user are");
}

Result<HttpResponse> GcpCredentials::ask_metadata(const std::string& what, Time until) const {
  const std::string where =
      "http://" + metadata_host_ + "/computeMetadata/v1/instance/service-accounts/default/" + what;
  auto response = http_.send({.url = where, .headers = {"Metadata-Flavor: Google"}}, until);
  if (!response) {
    Error error = response.error();
    if (error.code == Code::kInvalid)
      return unusable_for_gcp("GCE_METADATA_HOST is not the metadata server: " + error.context);
    error.context +=
        "; outside of Google Cloud set GOOGLE_APPLICATION_CREDENTIALS (see keystore/GCP.md)";
    return error;
  }
  const auto flavour = response->headers.find("metadata-flavor");
  if (flavour == response->headers.end() || flavour->second != "Google") {
    return Error{Code::kKmsUnavailable, 0,
                 where +
                     ": who answers is not Google's metadata server; outside of Google Cloud "
                     "set GOOGLE_APPLICATION_CREDENTIALS (see keystore/GCP.md)"};
  }
  if (response->status == 404)
    return unusable_for_gcp("this machine has no service account: attach one");
  if (response->status == 403) return Error{Code::kKmsDenied, 0, where + " refuses a token (403)"};
  if (response->status != 200) {
    return Error{Code::kKmsUnavailable, 0,
                 where + " can't answer now (" + std::to_string(response->status) + ")"};
  }
  return response;
}

Result<BearerToken> GcpCredentials::from_metadata(Time until) const {
  return BearerToken::from_oauth(TRY(ask_metadata("token", until)), "the metadata server");
}

Result<std::string> GcpCredentials::identity(Time until) const {
  if (file_.empty()) {
    const auto response = TRY(ask_metadata("email", until));
    const Bytes email = response.body.expose();
    if (email.empty() || email.size() > 200 || !is_plain_text(email))
      return Error{Code::kKmsUnavailable, 0, "the metadata server does not say who we are"};
    return std::string(as_text(email));
  }
  const GcpCredentialsFile file = TRY(GcpCredentialsFile::read(file_));
  const std::string account = account_in(file.text_or_nothing("service_account_impersonation_url"));
  for (const std::string& known :
       {account, file.text_or_nothing("client_email"), file.text_or_nothing("audience")}) {
    if (!known.empty()) return known;
  }
  return std::string("the user of " + file_);
}

}  // namespace coffer
