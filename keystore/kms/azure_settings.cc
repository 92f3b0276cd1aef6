#include "keystore/kms/azure_settings.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "keystore/kms/azure_key.h"
#include "keystore/kms/host_and_port.h"
#include "keystore/kms/node_settings.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr const char* kAuthority = "https://login.microsoftonline.com";
constexpr const char* kMetadataHost = "169.254.169.254";

const NodeSettingsSource kSource = {
    .names = {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE",
              "AZURE_AUTHORITY_HOST", "AZURE_CLIENT_CERTIFICATE_PATH", "IDENTITY_ENDPOINT",
              "IDENTITY_SERVER_THUMBPRINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
              "COFFER_AZURE_KEYS", "COFFER_AZURE_ENDPOINT", "COFFER_AZURE_CLIENT_SECRET_FILE",
              "COFFER_AZURE_CA_FILE", "COFFER_AZURE_PIN_SHA256"},
    .file_variable = "COFFER_AZURE_CONFIG",
    .default_file = "/etc/coffer/azure.conf",
    .page = "keystore/AZURE.md"};

SecretBytes secret_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? SecretBytes::copy_of(as_bytes(value)) : SecretBytes();
}

/// "https://HOST:PORT" (or http, which is for loopback and what else is said), without a path.
Result<std::string> origin(NodeSettings& values, const char* name) {
  const std::string& url = values[name];
  if (url.empty()) return url;
  const Error odd = unusable_for_azure(std::string(name) + " is no https://HOST:PORT");
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

/// Of ids, which stand in URLs and forms as they are.
Result<std::string> word(NodeSettings& values, const char* name) {
  const std::string& text = values[name];
  const bool plain = text.size() <= 100 && std::ranges::all_of(text, [](char letter) {
                       return (letter >= 'a' && letter <= 'z') ||
                              (letter >= 'A' && letter <= 'Z') ||
                              (letter >= '0' && letter <= '9') || letter == '-' || letter == '.';
                     });
  if (!plain || text.starts_with('.')) return unusable_for_azure(std::string(name) + " is no id");
  return text;
}

Result<void> set_keys(AzureSettings& settings, const std::string& list) {
  constexpr std::string_view kBetween = ", \t";
  for (std::size_t at = list.find_first_not_of(kBetween); at != std::string::npos;) {
    const std::size_t end = std::min(list.find_first_of(kBetween, at), list.size());
    const std::string entry = list.substr(at, end - at);
    if (!is_azure_place(entry)) {
      return unusable_for_azure(
          "COFFER_AZURE_KEYS is no list of HOST/keys/NAME or HOST of Azure's, hosts in lower case");
    }
    settings.keys.push_back(entry);
    at = list.find_first_not_of(kBetween, end);
  }
  return {};
}

bool has_client_secret(const AzureSettings& settings) {
  return !settings.client_secret.empty() || !settings.client_secret_file.empty();
}

/// Whatever it takes to log in that is not secret.
Result<void> set_login(AzureSettings& settings, NodeSettings& values) {
  settings.authority = TRY(origin(values, "AZURE_AUTHORITY_HOST"));
  if (settings.authority.empty()) settings.authority = kAuthority;
  settings.tenant = TRY(word(values, "AZURE_TENANT_ID"));
  settings.client = TRY(word(values, "AZURE_CLIENT_ID"));
  settings.client_secret_file = values["COFFER_AZURE_CLIENT_SECRET_FILE"];
  settings.federated_token_file = values["AZURE_FEDERATED_TOKEN_FILE"];
  const bool has_secret = has_client_secret(settings);
  if (!has_secret && !values["AZURE_CLIENT_CERTIFICATE_PATH"].empty())
    return unusable_for_azure(
        "AZURE_CLIENT_CERTIFICATE_PATH is set, and to log in by a certificate is not supported");
  if ((has_secret || !settings.federated_token_file.empty()) &&
      (settings.tenant.empty() || settings.client.empty()))
    return unusable_for_azure(
        "there is something to log in with, and no AZURE_TENANT_ID and AZURE_CLIENT_ID to go with "
        "it");
  return {};
}

/// What goes there is not encrypted, and what comes from there is believed.
Result<void> set_managed_identity(AzureSettings& settings, NodeSettings& values) {
  settings.metadata_endpoint = TRY(origin(values, "AZURE_POD_IDENTITY_AUTHORITY_HOST"));
  if (settings.metadata_endpoint.empty())
    settings.metadata_endpoint = std::string("http://") + kMetadataHost;
  // Where another login is set up it may be there for others.
  if (has_client_secret(settings) || !settings.federated_token_file.empty()) return {};
  settings.identity_endpoint = values["IDENTITY_ENDPOINT"];
  if (settings.identity_endpoint.empty()) return {};
  const bool is_service_fabric = !values["IDENTITY_SERVER_THUMBPRINT"].empty();
  if (is_service_fabric || settings.identity_header.empty() ||
      !is_plain_text(settings.identity_header.expose()))
    return unusable_for_azure(
        "IDENTITY_ENDPOINT is not that of App Service, with an IDENTITY_HEADER (those of Arc and "
        "of Service Fabric are not supported)");
  const std::string& url = settings.identity_endpoint;
  if (!is_plain_text(as_bytes(url)) || url.find_first_of("?#") != std::string::npos)
    return unusable_for_azure("IDENTITY_ENDPOINT is no URL that a query can be put to");
  constexpr std::string_view kLinkLocal = "http://169.254.";
  if (url.starts_with(kLinkLocal)) {
    const std::string host = url.substr(7, url.find_first_of(":/", 7) - 7);
    if (host.find_first_not_of("0123456789.") == std::string::npos)
      settings.login_http.plain_http_hosts.push_back(host);
  }
  return {};
}

}  // namespace

Error unusable_for_azure(const std::string& words) { return unusable(kSource, words); }

Result<AzureSettings> AzureSettings::of_this_node() {
  NodeSettings values = TRY(node_settings(kSource));
  AzureSettings settings;
  TRY(set_keys(settings, values["COFFER_AZURE_KEYS"]));
  settings.endpoint = TRY(origin(values, "COFFER_AZURE_ENDPOINT"));
  settings.client_secret = secret_environment("AZURE_CLIENT_SECRET");
  settings.identity_header = secret_environment("IDENTITY_HEADER");
  settings.login_http.plain_http_hosts = {kMetadataHost};
  TRY(set_login(settings, values));
  TRY(set_managed_identity(settings, values));
  settings.http.ca_file = values["COFFER_AZURE_CA_FILE"];
  settings.http.pin_sha256 = values["COFFER_AZURE_PIN_SHA256"];
  settings.http.plain_http = true;  // to loopback, where an endpoint says so
  settings.http.most = 64 * 1024;   // of locked memory
  settings.login_http.ca_file = settings.http.ca_file;
  settings.login_http.plain_http = true;
  settings.login_http.most = settings.http.most;
  return settings;
}

}  // namespace coffer
