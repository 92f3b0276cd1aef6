#include "keystore/kms/kmip_settings.h"

#include "keystore/kms/node_settings.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

const NodeSettingsSource kSource = {
    .names = {"COFFER_KMIP_SERVER", "COFFER_KMIP_CA", "COFFER_KMIP_PIN_SHA256",
              "COFFER_KMIP_CLIENT_CERT", "COFFER_KMIP_CLIENT_KEY", "COFFER_KMIP_USER",
              "COFFER_KMIP_PASSWORD_FILE"},
    .file_variable = "COFFER_KMIP_CONFIG",
    .default_file = "/etc/coffer/kmip.conf",
    .page = "keystore/KMIP.md"};

Error unusable(const std::string& words) { return unusable(kSource, words); }

}  // namespace

Result<KmipSettings> KmipSettings::of_this_node() {
  NodeSettings values = TRY(node_settings(kSource));
  KmipSettings settings;
  const std::string& server = values["COFFER_KMIP_SERVER"];
  if (server.empty()) {
    return unusable(
        "COFFER_KMIP_SERVER is not set: a keystore does not choose who is brought this node's "
        "certificate; set it to HOST:PORT");
  }
  const auto host = parse_host(server, kKmipPort);
  if (!host) return unusable("COFFER_KMIP_SERVER is no HOST:PORT");
  settings.server = *host;
  settings.ca_file = values["COFFER_KMIP_CA"];
  settings.pin_sha256 = values["COFFER_KMIP_PIN_SHA256"];
  settings.client_cert = values["COFFER_KMIP_CLIENT_CERT"];
  settings.client_key = values["COFFER_KMIP_CLIENT_KEY"];
  settings.user = values["COFFER_KMIP_USER"];
  settings.password_file = values["COFFER_KMIP_PASSWORD_FILE"];
  if (!settings.pin_sha256.empty()) {
    const auto digest = from_secret_base64(as_bytes(settings.pin_sha256));
    if (!digest || digest->size() != 32)
      return unusable("COFFER_KMIP_PIN_SHA256 is no base64 of a SHA-256");
  }
  if (settings.client_cert.empty() || settings.client_key.empty())
    return unusable("COFFER_KMIP_CLIENT_CERT and COFFER_KMIP_CLIENT_KEY are not both set");
  if (settings.user.empty() != settings.password_file.empty()) {
    return unusable(
        "of COFFER_KMIP_USER and COFFER_KMIP_PASSWORD_FILE one is set, and not the other");
  }
  return settings;
}

}  // namespace coffer
