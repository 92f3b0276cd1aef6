#include "keystore/kms/gcp_settings.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "keystore/kms/host_and_port.h"
#include "keystore/kms/node_settings.h"

namespace coffer {
namespace {

constexpr const char* kEndpoint = "https://cloudkms.googleapis.com";
/// By its address: its name is not to be had from whoever answers for names.
constexpr const char* kMetadataHost = "169.254.169.254";
constexpr const char* kMetadataName = "metadata.google.internal";

const NodeSettingsSource kSource = {
    .names = {"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT", "GCE_METADATA_HOST",
              "COFFER_GCP_ENDPOINT", "COFFER_GCP_KEYS", "COFFER_GCP_CA_FILE",
              "COFFER_GCP_PIN_SHA256"},
    .file_variable = "COFFER_GCP_CONFIG",
    .default_file = "/etc/coffer/gcp.conf",
    .page = "keystore/GCP.md"};

Result<void> set_endpoint(GcpSettings& settings, std::string address) {
  if (address.empty()) address = kEndpoint;
  const bool plain = address.starts_with("http://");
  const Error odd = unusable_for_gcp("COFFER_GCP_ENDPOINT is no https://HOST:PORT");
  if (!plain && !address.starts_with("https://")) return odd;
  std::string_view rest = std::string_view(address).substr(plain ? 7 : 8);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto host = parse_host(rest, plain ? 80 : 443);
  if (!host) return odd;
  settings.endpoint =
      (plain ? "http://" : "https://") + host->host + ":" + std::to_string(host->port);
  settings.http.plain_http = plain;
  return {};
}

/// What goes there is not encrypted, and what comes from there is believed.
Result<void> set_metadata_host(GcpSettings& settings, const std::string& host) {
  settings.metadata_host = host.empty() ? kMetadataHost : host;
  const auto parsed = parse_host(settings.metadata_host, 80);
  if (!parsed) return unusable_for_gcp("GCE_METADATA_HOST is no HOST[:PORT]");
  return {};
}

Result<void> set_keys(GcpSettings& settings, const std::string& names) {
  constexpr std::string_view kProjects = "projects/";
  settings.keys = listed(names);
  bool odd = settings.keys.empty() && !names.empty();
  for (std::string& each : settings.keys) {
    while (each.ends_with('/')) each.pop_back();
    odd = odd || !each.starts_with(kProjects) || each[kProjects.size()] == '/';
  }
  if (!odd) return {};
  return unusable_for_gcp("COFFER_GCP_KEYS is no projects/P or the beginning of a key's name");
}

/// The file that `gcloud auth application-default login` writes.
std::string well_known_file() {
  std::string directory = environment("CLOUDSDK_CONFIG");
  const std::string home = environment("HOME");
  if (directory.empty() && !home.empty()) directory = home + "/.config/gcloud";
  const std::string path = directory + "/application_default_credentials.json";
  return !directory.empty() && ::access(path.c_str(), F_OK) == 0 ? path : "";
}

}  // namespace

Error unusable_for_gcp(const std::string& words) { return unusable(kSource, words); }

Result<GcpSettings> GcpSettings::of_this_node() {
  NodeSettings values = TRY(node_settings(kSource));
  GcpSettings settings;
  TRY(set_endpoint(settings, values["COFFER_GCP_ENDPOINT"]));
  TRY(set_metadata_host(settings, values["GCE_METADATA_HOST"]));
  TRY(set_keys(settings, values["COFFER_GCP_KEYS"]));
  settings.quota_project = values["GOOGLE_CLOUD_QUOTA_PROJECT"];
  const bool plain_word = std::ranges::all_of(settings.quota_project, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' ||
           letter == '.' || letter == ':';
  });
  if (!plain_word) return unusable_for_gcp("GOOGLE_CLOUD_QUOTA_PROJECT is no name of a project");
  settings.credentials_file = values["GOOGLE_APPLICATION_CREDENTIALS"];
  if (settings.credentials_file.empty()) settings.credentials_file = well_known_file();
  settings.http.ca_file = values["COFFER_GCP_CA_FILE"];
  settings.http.pin_sha256 = values["COFFER_GCP_PIN_SHA256"];
  settings.http.most = 64 * 1024;  // of locked memory
  settings.login_http.ca_file = settings.http.ca_file;
  settings.login_http.plain_http = true;
  settings.login_http.plain_http_hosts = {kMetadataHost, kMetadataName};
  settings.login_http.most = settings.http.most;
  return settings;
}

}  // namespace coffer
