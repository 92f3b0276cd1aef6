#include "keystore/kms/aws_settings.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "keystore/kms/aws_arn.h"
#include "keystore/kms/host_and_port.h"
#include "keystore/kms/node_settings.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr const char* kContainerHost = "http://169.254.170.2";
constexpr const char* kMetadataHost = "http://169.254.169.254";

const NodeSettingsSource kSource = {
    .names = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS",
              "AWS_ENDPOINT_URL_STS", "AWS_USE_FIPS_ENDPOINT", "AWS_CA_BUNDLE", "AWS_ROLE_ARN",
              "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "AWS_PROFILE",
              "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
              "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
              "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED",
              "AWS_EC2_METADATA_SERVICE_ENDPOINT", "COFFER_AWS_KEYS"},
    .file_variable = "COFFER_AWS_CONFIG",
    .default_file = "/etc/coffer/aws.conf",
    .page = "keystore/AWS.md"};

SecretBytes secret_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? SecretBytes::copy_of(as_bytes(value)) : SecretBytes();
}

Result<bool> flag(NodeSettings& values, const char* name) {
  std::string value = values[name];
  std::ranges::transform(value, value.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  if (value == "true") return true;
  if (value.empty() || value == "false") return false;
  return unusable_aws(std::string(name) + " is neither true nor false");
}

/// "https://HOST:PORT" (or http, which is for loopback), without a path: what is signed is "/".
Result<std::string> endpoint(NodeSettings& values, const char* name) {
  std::string url = values[name];
  if (url.empty()) url = values["AWS_ENDPOINT_URL"];
  if (url.empty()) return url;
  const Error odd = unusable_aws(std::string(name) + " is no https://HOST:PORT");
  const bool plain = url.starts_with("http://");
  if (!plain && !url.starts_with("https://")) return odd;
  std::string_view rest = std::string_view(url).substr(plain ? 7 : 8);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto host = parse_host(rest, plain ? 80 : 443);
  if (!host) return odd;
  const bool default_port = host->port == (plain ? 80 : 443);
  return (plain ? "http://" : "https://") + host->host +
         (default_port ? "" : ":" + std::to_string(host->port));
}

/// Accounts in a region (`arn:aws:kms:REGION:ACCOUNT`), and keys.
Result<void> set_keys(AwsSettings& settings, const std::string& arns) {
  constexpr std::string_view kAnyKey = ":key/00000000-0000-0000-0000-000000000000";
  settings.keys = listed(arns);
  bool odd = settings.keys.empty() && !arns.empty();
  for (const std::string& each : settings.keys) {
    const auto key = AwsKeyArn::parse(each);
    // One of an alias would hold no key that is on record.
    odd = odd || (key ? key->is_alias() : !AwsKeyArn::parse(each + std::string(kAnyKey)));
  }
  if (!odd) return {};
  return unusable_aws("COFFER_AWS_KEYS is neither arn:aws:kms:REGION:ACCOUNT nor the ARN of a key");
}

Result<void> set_environment_keys(AwsSettings& settings) {
  settings.access_key_id = environment("AWS_ACCESS_KEY_ID");
  settings.secret_access_key = secret_environment("AWS_SECRET_ACCESS_KEY");
  settings.session_token = secret_environment("AWS_SESSION_TOKEN");
  if (settings.access_key_id.empty() != settings.secret_access_key.empty())
    return unusable_aws(
        "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is set, and not the other");
  return {};
}

Result<void> set_container(AwsSettings& settings, NodeSettings& values) {
  const std::string relative = values["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
  settings.container_uri = values["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
  if (!relative.empty()) {
    if (!relative.starts_with('/') || !is_plain_text(as_bytes(relative)))
      return unusable_aws("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path");
    settings.container_uri = kContainerHost + relative;
  }
  settings.container_token = secret_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  settings.container_token_file = values["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
  return {};
}

void set_profile(AwsSettings& settings, NodeSettings& values) {
  const std::string home = environment("HOME");
  const auto file = [&](const char* name, const char* by_default) {
    return !values[name].empty() || home.empty() ? values[name] : home + by_default;
  };
  settings.profile = values["AWS_PROFILE"];
  settings.config_file = file("AWS_CONFIG_FILE", "/.aws/config");
  settings.credentials_file = file("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials");
}

}  // namespace

Error unusable_aws(const std::string& words) { return unusable(kSource, words); }

std::vector<std::string> aws_metadata_hosts() {
  return {"169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]",
          "[fd00:ec2::23]"};
}

Result<AwsSettings> AwsSettings::of_this_node() {
  NodeSettings values = TRY(node_settings(kSource));
  AwsSettings settings;
  settings.region = values["AWS_REGION"];
  if (settings.region.empty()) settings.region = values["AWS_DEFAULT_REGION"];
  if (!settings.region.empty() && aws_partition_of(settings.region).empty())
    return unusable_aws("AWS_REGION is no region of AWS's");
  settings.kms_endpoint = TRY(endpoint(values, "AWS_ENDPOINT_URL_KMS"));
  settings.sts_endpoint = TRY(endpoint(values, "AWS_ENDPOINT_URL_STS"));
  settings.fips = TRY(flag(values, "AWS_USE_FIPS_ENDPOINT"));
  TRY(set_keys(settings, values["COFFER_AWS_KEYS"]));
  TRY(set_environment_keys(settings));
  settings.role_arn = values["AWS_ROLE_ARN"];
  settings.web_identity_token_file = values["AWS_WEB_IDENTITY_TOKEN_FILE"];
  settings.role_session_name = values["AWS_ROLE_SESSION_NAME"];
  set_profile(settings, values);
  TRY(set_container(settings, values));
  if (!TRY(flag(values, "AWS_EC2_METADATA_DISABLED"))) {
    settings.metadata_endpoint = values["AWS_EC2_METADATA_SERVICE_ENDPOINT"];
    if (settings.metadata_endpoint.empty()) settings.metadata_endpoint = kMetadataHost;
    if (settings.metadata_endpoint.ends_with('/')) settings.metadata_endpoint.pop_back();
  }
  settings.http.ca_file = values["AWS_CA_BUNDLE"];
  settings.http.plain_http = true;  // to loopback, where an endpoint says so
  settings.http.most = 256 * 1024;  // of locked memory
  return settings;
}

}  // namespace coffer
