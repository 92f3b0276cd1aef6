#include "keystore/kms/azure_credentials.h"

#include <algorithm>
#include <charconv>

#include "keystore/base/clock.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

/// The time that is left until `expires_on`, Unix seconds; those who give an `expires_in`, too, are
/// believed in that.
std::optional<std::chrono::seconds> time_left(Bytes expires_on) {
  std::int64_t end = 0;
  const std::string_view text = as_text(expires_on);
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), end);
  if (failure != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  constexpr std::int64_t kLongest = std::int64_t{1} << 30;
  // By a clock that is wrong it may be over: then it is asked for anew each time.
  return std::chrono::seconds(std::clamp<std::int64_t>(end - Clock().unix_seconds(), 0, kLongest));
}

}  // namespace

AzureCredentials::AzureCredentials(const AzureSettings& settings)
    : settings_(settings), http_(settings.login_http) {}

bool AzureCredentials::has_secret() const {
  return !settings_.client_secret.empty() || !settings_.client_secret_file.empty();
}

Result<BearerToken> AzureCredentials::get(const std::string& resource, Time until) const {
  if (has_secret()) return by_secret(resource, until);
  if (!settings_.federated_token_file.empty()) return by_federation(resource, until);
  if (!settings_.identity_endpoint.empty()) return by_identity_endpoint(resource, until);
  return by_metadata(resource, until);
}

std::string AzureCredentials::identity() const {
  if (has_secret() || !settings_.federated_token_file.empty())
    return "client " + settings_.client + " of tenant " + settings_.tenant;
  return settings_.client.empty() ? "the managed identity of this machine"
                                  : "managed identity " + settings_.client;
}

Result<BearerToken> AzureCredentials::by_secret(const std::string& resource, Time until) const {
  const SecretBytes secret =
      settings_.client_secret.empty()
          ? TRY(read_secret_line("client secret", settings_.client_secret_file, Readers::kOwner))
          : settings_.client_secret.clone();
  return from_tenant(
      resource,
      secret_text({as_bytes("&client_secret="), to_secret_form(secret.expose()).expose()}).expose(),
      until);
}

Result<BearerToken> AzureCredentials::by_federation(const std::string& resource, Time until) const {
  const SecretBytes token = TRY(read_secret_line(
      "AZURE_FEDERATED_TOKEN_FILE", settings_.federated_token_file, Readers::kAnybody));
  return from_tenant(
      resource,
      secret_text({as_bytes("&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-"
                            "type%3Ajwt-bearer&client_assertion="),
                   to_secret_form(token.expose()).expose()})
          .expose(),
      until);
}

Result<BearerToken> AzureCredentials::from_tenant(const std::string& resource, Bytes proof,
                                                  Time until) const {
  const std::string url = settings_.authority + "/" + settings_.tenant + "/oauth2/v2.0/token";
  const SecretBytes scope = to_secret_form(as_bytes(resource + "/.default"));
  HttpRequest request{.method = "POST",
                      .url = url,
                      .headers = {"Content-Type: application/x-www-form-urlencoded"},
                      .body = secret_text({as_bytes("grant_type=client_credentials&client_id="),
                                           as_bytes(settings_.client), as_bytes("&scope="),
                                           scope.expose(), proof})};
  auto response = http_.send(request, until);
  if (!response && response.error().code == Code::kInvalid)
    return unusable_for_azure("AZURE_AUTHORITY_HOST may not be asked: " + response.error().context);
  return BearerToken::from_oauth(TRY(std::move(response)), url);
}

std::string AzureCredentials::client_parameter() const {
  return settings_.client.empty() ? "" : "&client_id=" + settings_.client;
}

Result<HttpResponse> AzureCredentials::ask_identity(const HttpRequest& request, Time until) const {
  auto response = http_.send(request, until);
  if (!response) {
    Error error = response.error();
    if (error.code == Code::kInvalid)
      return unusable_for_azure("a managed identity's endpoint may not be asked: " + error.context);
    error.context +=
        "; outside of Azure set AZURE_TENANT_ID, AZURE_CLIENT_ID and what goes with them (see "
        "keystore/AZURE.md)";
    return error;
  }
  if (response->status == 400) {
    return unusable_for_azure("this machine has no such managed identity: assign one (" +
                              oauth_refusal(*response, "").context + ")");
  }
  if (response->status == 401 || response->status == 403) {
    return Error{Code::kKmsDenied, 0,
                 "the managed identity's endpoint refuses a token (" +
                     std::to_string(response->status) + ")"};
  }
  if (response->status != 200) {
    return Error{Code::kKmsUnavailable, 0,
                 "the managed identity's endpoint can't answer now (" +
                     std::to_string(response->status) + ")"};
  }
  return response;
}

Result<BearerToken> AzureCredentials::by_identity_endpoint(const std::string& resource,
                                                           Time until) const {
  const std::string where = "the managed identity's endpoint";
  const SecretBytes header =
      secret_text({as_bytes("X-IDENTITY-HEADER: "), settings_.identity_header.expose()});
  auto response = TRY(ask_identity({.url = settings_.identity_endpoint + "?api-version=2019-08-01" +
                                           "&resource=" + resource + client_parameter(),
                                    .secret_header = &header},
                                   until));
  const auto expires_on = take_secret_if_there(response.body.expose(), "expires_on");
  BearerToken token = TRY(BearerToken::from_oauth(std::move(response), where));
  if (!token.lifetime && expires_on) token.lifetime = time_left(expires_on->expose());
  return token;
}

Result<BearerToken> AzureCredentials::by_metadata(const std::string& resource, Time until) const {
  auto response =
      TRY(ask_identity({.url = settings_.metadata_endpoint + "/metadata/identity/oauth2/token" +
                               "?api-version=2018-02-01&resource=" + resource + client_parameter(),
                        .headers = {"Metadata: true"}},
                       until));
  return BearerToken::from_oauth(std::move(response), "the machine's metadata service");
}

}  // namespace coffer
