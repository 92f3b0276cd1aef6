#include "keystore/kms/aws_web_identity.h"

#include <optional>

#include "keystore/kms/aws_arn.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

/// What a form's value may hold: all but letters and digits stands as %XX, or as it is if RFC 3986
/// section 2.3 leaves it so.
SecretBytes form_encoded(Bytes value) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  SecretBytes out(3 * value.size());
  std::size_t length = 0;
  for (const std::uint8_t letter : value) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                       (letter >= '0' && letter <= '9') || letter == '-' || letter == '.' ||
                       letter == '_' || letter == '~';
    if (plain) {
      out.expose()[length++] = letter;
      continue;
    }
    out.expose()[length++] = '%';
    out.expose()[length++] = static_cast<std::uint8_t>(kHex[letter >> 4U]);
    out.expose()[length++] = static_cast<std::uint8_t>(kHex[letter & 15U]);
  }
  return SecretBytes::copy_of(out.expose().first(length));
}

/// What stands between <NAME> and </NAME>; none unless there is one such element, which holds text
/// that means itself.
std::optional<Bytes> element(Bytes xml, const std::string& name) {
  const std::string_view text = as_text(xml);
  const std::string open = "<" + name + ">";
  const std::size_t begin = text.find(open);
  if (begin == std::string_view::npos || text.find(open, begin + 1) != std::string_view::npos)
    return std::nullopt;
  const std::size_t at = begin + open.size();
  const std::size_t end = text.find('<', at);
  if (end == std::string_view::npos || !text.substr(end).starts_with("</" + name + ">"))
    return std::nullopt;
  if (text.substr(at, end - at).find('&') != std::string_view::npos) return std::nullopt;
  return xml.subspan(at, end - at);
}

std::string text_of(Bytes xml, const std::string& name) {
  const auto found = element(xml, name);
  return found ? std::string(as_text(*found)) : std::string();
}

Result<std::string> sts_url(const AwsWebIdentity& identity, const AwsSettings& settings) {
  if (!settings.sts_endpoint.empty()) return settings.sts_endpoint + "/";
  const std::string_view partition = aws_partition_of(identity.region);
  if (partition.empty())
    return unusable_aws("AWS_REGION is not set, which says what STS to ask for the role");
  // In the regions of the US government it is the only one, and validated.
  const bool named_fips = settings.fips && partition != "aws-us-gov";
  return "https://" + aws_host(named_fips ? "sts-fips" : "sts", identity.region) + "/";
}

Error refusal(const HttpResponse& response, const std::string& url) {
  const std::string code = text_of(response.body.expose(), "Code");
  const std::string said = url + " (" + std::to_string(response.status) + " " +
                           aws_plain_name(code) +
                           "): " + without_secrets(text_of(response.body.expose(), "Message"));
  const bool trouble = response.status == 429 || response.status >= 500 || code.empty() ||
                       code.starts_with("Throttling") || code == "IDPCommunicationError";
  if (trouble) return {Code::kKmsUnavailable, 0, "STS can't answer now: " + said};
  return {Code::kKmsDenied, 0,
          "STS refuses the role; see its trust policy, and whether the token is fresh: " + said};
}

}  // namespace

Result<AwsCredentials> credentials_of_web_identity(const AwsWebIdentity& identity,
                                                   const AwsSettings& settings,
                                                   const HttpClient& http,
                                                   std::chrono::steady_clock::time_point until) {
  if (identity.role_arn.empty())
    return unusable_aws("a web identity token is set, and no role (AWS_ROLE_ARN) to go with it");
  const std::string url = TRY(sts_url(identity, settings));
  const SecretBytes token =
      TRY(read_secret_line("web identity token", identity.token_file, Readers::kAnybody));
  const std::string session = identity.session_name.empty() ? "coffer" : identity.session_name;
  HttpRequest request{
      .method = "POST", .url = url, .headers = {"Content-Type: application/x-www-form-urlencoded"}};
  request.body =
      secret_text({as_bytes("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn="),
                   form_encoded(as_bytes(identity.role_arn)).expose(),
                   as_bytes("&RoleSessionName="), form_encoded(as_bytes(session)).expose(),
                   as_bytes("&WebIdentityToken="), form_encoded(token.expose()).expose()});
  const auto response = TRY(http.send(request, until));
  if (response.status != 200) return refusal(response, url);
  const Bytes xml = response.body.expose();
  const auto secret = element(xml, "SecretAccessKey");
  const auto session_token = element(xml, "SessionToken");
  AwsCredentials credentials{
      .access_key_id = text_of(xml, "AccessKeyId"),
      .secret_access_key = SecretBytes::copy_of(secret ? *secret : Bytes()),
      .session_token = SecretBytes::copy_of(session_token ? *session_token : Bytes())};
  credentials.lifetime = lifetime_until(text_of(xml, "Expiration"), response);
  credentials.source = "web identity, " + identity.role_arn;
  if (!credentials.is_well_formed() || credentials.session_token.empty() || !credentials.lifetime)
    return Error{Code::kKmsUnavailable, 0, url + ": STS answers with what are no credentials"};
  return credentials;
}

}  // namespace coffer
