#include "keystore/kms/aws_credentials.h"

#include <algorithm>

#include "keystore/base/clock.h"
#include "keystore/kms/aws_metadata.h"
#include "keystore/kms/aws_profile.h"
#include "keystore/kms/aws_time.h"
#include "keystore/kms/aws_web_identity.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestKeyId = 128;

/// Metadata services are near, or not there at all.
HttpSettings near(HttpSettings settings) {
  settings.plain_http_hosts = aws_metadata_hosts();
  settings.connect_timeout = milliseconds(1000);
  settings.timeout = milliseconds(3000);
  return settings;
}

Result<AwsCredentials> well_formed(AwsCredentials credentials, const std::string& where) {
  if (!credentials.is_well_formed())
    return unusable_aws("the access key of " + where + " holds odd characters, or none");
  credentials.source = where;
  return credentials;
}

}  // namespace

bool same_credential(const AwsCredentials& a, const AwsCredentials& b) {
  return constant_time_equal(a.secret_access_key.expose(), b.secret_access_key.expose()) &&
         constant_time_equal(a.session_token.expose(), b.session_token.expose());
}

bool AwsCredentials::is_well_formed() const {
  const auto is_of_id = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '_';
  };
  return !access_key_id.empty() && access_key_id.size() <= kLongestKeyId &&
         std::ranges::all_of(access_key_id, is_of_id) && !secret_access_key.empty() &&
         is_plain_text(secret_access_key.expose()) && is_plain_text(session_token.expose());
}

std::string aws_plain_name(std::string_view name) {
  const bool plain = name.size() <= 64 && std::ranges::all_of(name, [](char letter) {
                       return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
                     });
  return plain ? std::string(name) : std::string();
}

std::optional<std::chrono::seconds> lifetime_until(std::string_view expiration,
                                                   const HttpResponse& response) {
  const auto end = parse_aws_time(expiration);
  if (!end) return std::nullopt;
  const auto date = response.headers.find("date");
  const auto theirs = date == response.headers.end() ? std::nullopt : parse_http_date(date->second);
  return std::chrono::seconds(*end - (theirs ? *theirs : Clock().unix_seconds()));
}

AwsCredentialChain::AwsCredentialChain(const AwsSettings& settings)
    : settings_(settings), http_(settings.http), metadata_http_(near(settings.http)) {}

Result<std::optional<AwsCredentials>> AwsCredentialChain::of_profile(Time until) const {
  const std::string name = settings_.profile.empty() ? "default" : settings_.profile;
  const std::string where = "profile " + name;
  AwsProfile profile =
      TRY(AwsProfile::read(settings_.config_file, settings_.credentials_file, name));
  if (!profile.role_arn.empty() && !profile.web_identity_token_file.empty()) {
    const std::string region = settings_.region.empty() ? profile.region : settings_.region;
    return std::optional(TRY(credentials_of_web_identity(
        {profile.role_arn, profile.web_identity_token_file, profile.role_session_name, region},
        settings_, http_, until)));
  }
  if (profile.role_arn.empty() && !profile.access_key_id.empty()) {
    return std::optional(TRY(well_formed({.access_key_id = std::move(profile.access_key_id),
                                          .secret_access_key = std::move(profile.secret_access_key),
                                          .session_token = std::move(profile.session_token)},
                                         where)));
  }
  if (!profile.other_way.empty() || !profile.role_arn.empty()) {
    const std::string way = profile.other_way.empty() ? "role_arn" : profile.other_way;
    return unusable_aws(where + " gets credentials by " + way +
                        ", which coffer does not support; use access keys, "
                        "web_identity_token_file, or a container's or machine's role");
  }
  if (!settings_.profile.empty()) {
    return unusable_aws(where + (profile.found ? " holds no credentials"
                                               : " is in no file (AWS_CONFIG_FILE, "
                                                 "AWS_SHARED_CREDENTIALS_FILE)"));
  }
  return std::optional<AwsCredentials>();
}

Result<AwsCredentials> AwsCredentialChain::get(Time until) const {
  if (!settings_.access_key_id.empty()) {
    return well_formed({.access_key_id = settings_.access_key_id,
                        .secret_access_key = settings_.secret_access_key.clone(),
                        .session_token = settings_.session_token.clone()},
                       "the environment");
  }
  if (!settings_.web_identity_token_file.empty()) {
    return credentials_of_web_identity({settings_.role_arn, settings_.web_identity_token_file,
                                        settings_.role_session_name, settings_.region},
                                       settings_, http_, until);
  }
  if (auto profile = TRY(of_profile(until))) return *std::move(profile);
  if (!settings_.container_uri.empty())
    return credentials_of_container(settings_, metadata_http_, until);
  if (!settings_.metadata_endpoint.empty())
    return credentials_of_machine(settings_, metadata_http_, until);
  return unusable_aws("this node has no AWS credentials: give it a role, or set AWS_PROFILE");
}

}  // namespace coffer
