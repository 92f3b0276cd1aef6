#include "keystore/kms/aws_metadata.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr const char* kRoles = "/latest/meta-data/iam/security-credentials/";

bool is_trouble(long status) { return status == 429 || status >= 500; }

Error not_understood(const std::string& where) {
  return {Code::kKmsUnavailable, 0, where + " answers with what are no credentials"};
}

/// {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}, and "Code" of machines.
Result<AwsCredentials> credentials_from(HttpResponse response, const std::string& where) {
  auto secret = take_secret_member(response.body.expose(), "SecretAccessKey");
  auto token = take_secret_member(response.body.expose(), "Token");
  // Secrets that could not be taken out are not parsed.
  const std::string_view rest = as_text(response.body.expose());
  if ((!secret && rest.find("SecretAccessKey") != std::string_view::npos) ||
      (!token && rest.find("\"Token\"") != std::string_view::npos))
    return not_understood(where);
  const auto json = nlohmann::json::parse(rest, nullptr, false);
  if (!json.is_object()) return not_understood(where);
  const std::string code = json_text(json, "Code");
  if (!code.empty() && code != "Success") {
    return Error{Code::kKmsDenied, 0,
                 where + " gives no credentials: " + aws_plain_name(code) + " " +
                     without_secrets(json_text(json, "Message"))};
  }
  if (!secret || !token || !json.contains("SecretAccessKey") || !json.contains("Token"))
    return not_understood(where);
  AwsCredentials credentials{.access_key_id = json_text(json, "AccessKeyId"),
                             .secret_access_key = *std::move(secret),
                             .session_token = *std::move(token)};
  credentials.lifetime = lifetime_until(json_text(json, "Expiration"), response);
  credentials.source = where;
  if (!credentials.is_well_formed() || !credentials.lifetime) return not_understood(where);
  return credentials;
}

Result<SecretBytes> container_token(const AwsSettings& settings) {
  if (!settings.container_token_file.empty()) {
    return read_secret_line("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", settings.container_token_file,
                            Readers::kAnybody);
  }
  if (settings.container_token.empty()) return SecretBytes();
  return secret_line("AWS_CONTAINER_AUTHORIZATION_TOKEN", settings.container_token.expose());
}

bool is_role_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') ||
           std::string_view("+=,.@_-").find(letter) != std::string_view::npos;
  });
}

/// Of a machine that has no role, or lets nobody ask.
Error no_role(const std::string& what, long status) {
  return unusable_aws("this node has no AWS credentials, and " + what + " (" +
                      std::to_string(status) + "): give it a role, or set AWS_PROFILE or the like");
}

/// What the metadata service says at `path`; 404 is an error, too.
Result<HttpResponse> ask_machine(HttpRequest request, const std::string& what,
                                 const HttpClient& http, Time until) {
  auto response = http.send(request, until);
  if (!response) {
    Error error = std::move(response).error();
    if (error.code == Code::kKmsUnavailable) {
      error.context +=
          " (no credentials are set up on this node, so its instance metadata is asked; see "
          "keystore/AWS.md)";
    }
    return error;
  }
  if (is_trouble(response->status)) {
    return Error{Code::kKmsUnavailable, 0,
                 what + " answers with " + std::to_string(response->status)};
  }
  if (response->status != 200)
    return no_role("its instance metadata service gives none", response->status);
  return response;
}

}  // namespace

Result<AwsCredentials> credentials_of_container(const AwsSettings& settings, const HttpClient& http,
                                                Time until) {
  const std::string where = "the container's role";
  const SecretBytes token = TRY(container_token(settings));
  const SecretBytes header = secret_text({as_bytes("Authorization: "), token.expose()});
  HttpRequest request{.url = settings.container_uri};
  if (!token.empty()) request.secret_header = &header;
  auto response = http.send(request, until);
  if (!response && response.error().code == Code::kInvalid)
    return unusable_aws(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI may not be asked: it has to be https, "
        "or http to loopback or a container's link-local address");
  // Without the URL, by which anybody near can get them.
  if (!response) return Error{response.error().code, 0, where + ": its endpoint does not answer"};
  if (is_trouble(response->status)) {
    return Error{Code::kKmsUnavailable, 0,
                 where + ": its endpoint answers with " + std::to_string(response->status)};
  }
  if (response->status != 200) {
    return Error{
        Code::kKmsDenied, 0,
        where + ": its endpoint refuses credentials (" + std::to_string(response->status) + ")"};
  }
  return credentials_from(*std::move(response), where);
}

Result<AwsCredentials> credentials_of_machine(const AwsSettings& settings, const HttpClient& http,
                                              Time until) {
  const std::string what = "the instance metadata service";
  const auto token = TRY(ask_machine({.method = "PUT",
                                      .url = settings.metadata_endpoint + "/latest/api/token",
                                      .headers = {"X-aws-ec2-metadata-token-ttl-seconds: 300"}},
                                     what, http, until));
  if (token.body.empty() || !is_plain_text(token.body.expose())) return not_understood(what);
  const SecretBytes header =
      secret_text({as_bytes("X-aws-ec2-metadata-token: "), token.body.expose()});
  const auto get = [&](const std::string& path) {
    return ask_machine({.url = settings.metadata_endpoint + path, .secret_header = &header}, what,
                       http, until);
  };
  const auto roles = TRY(get(kRoles));
  const std::string_view lines = as_text(roles.body.expose());
  const std::string role(lines.substr(0, lines.find_first_of("\r\n")));
  if (!is_role_name(role)) return not_understood(what);
  return credentials_from(TRY(get(kRoles + role)), "role " + role + " of this machine");
}

}  // namespace coffer
