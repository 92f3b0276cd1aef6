#include "keystore/kms/vault_settings.h"

#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "keystore/kms/host_and_port.h"
#include "keystore/kms/node_settings.h"

namespace coffer {
namespace {

constexpr const char* kJwtOfPods = "/var/run/secrets/kubernetes.io/serviceaccount/token";

const NodeSettingsSource kSource = {
    .names = {"VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CLIENT_CERT",
              "VAULT_CLIENT_KEY", "COFFER_VAULT_AUTH", "COFFER_VAULT_AUTH_MOUNT",
              "COFFER_VAULT_ROLE", "COFFER_VAULT_TOKEN_FILE", "COFFER_VAULT_SECRET_ID_FILE",
              "COFFER_VAULT_JWT_FILE", "COFFER_VAULT_PIN_SHA256"},
    .file_variable = "COFFER_VAULT_CONFIG",
    .default_file = "/etc/coffer/vault.conf",
    .page = "keystore/VAULT.md"};

Error unusable(const std::string& words) { return unusable(kSource, words); }

Result<VaultAuth> auth_of(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, VaultAuth>, 6> kKnown = {
      {{"", VaultAuth::kToken},
       {"token", VaultAuth::kToken},
       {"approle", VaultAuth::kAppRole},
       {"kubernetes", VaultAuth::kKubernetes},
       {"jwt", VaultAuth::kJwt},
       {"cert", VaultAuth::kCert}}};
  for (const auto& [known, auth] : kKnown) {
    if (known == name) return auth;
  }
  return unusable("COFFER_VAULT_AUTH is none of token, approle, kubernetes, jwt, cert");
}

Result<void> set_address(VaultSettings& settings, const std::string& address) {
  if (address.empty()) {
    return unusable(
        "VAULT_ADDR is not set: a keystore does not choose who is told this node's secrets; set it "
        "to https://HOST:PORT");
  }
  const bool plain = address.starts_with("http://");
  if (!plain && !address.starts_with("https://"))
    return unusable("VAULT_ADDR is no https://HOST:PORT");
  std::string_view rest = std::string_view(address).substr(plain ? 7 : 8);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto host = parse_host(rest, plain ? 80 : 443);
  if (!host) return unusable("VAULT_ADDR is no https://HOST:PORT");
  settings.address =
      (plain ? "http://" : "https://") + host->host + ":" + std::to_string(host->port);
  settings.http.plain_http = plain;
  return {};
}

/// What to log in with, by way of login.
Result<void> set_credentials(VaultSettings& settings, NodeSettings& values) {
  settings.auth = TRY(auth_of(values["COFFER_VAULT_AUTH"]));
  settings.role = values["COFFER_VAULT_ROLE"];
  settings.auth_mount = values["COFFER_VAULT_AUTH_MOUNT"];
  const auto by_default = [&settings](const char* mount) {
    if (settings.auth_mount.empty()) settings.auth_mount = mount;
  };
  switch (settings.auth) {
    case VaultAuth::kToken: {
      settings.secret_file = values["COFFER_VAULT_TOKEN_FILE"];
      const char* const token = std::getenv("VAULT_TOKEN");
      if (token != nullptr) settings.token = SecretBytes::copy_of(as_bytes(token));
      if (settings.secret_file.empty() && settings.token.empty())
        return unusable("neither VAULT_TOKEN nor COFFER_VAULT_TOKEN_FILE is set");
      return {};
    }
    case VaultAuth::kAppRole:
      by_default("approle");
      settings.secret_file = values["COFFER_VAULT_SECRET_ID_FILE"];
      if (settings.role.empty()) return unusable("COFFER_VAULT_ROLE, the role id, is not set");
      return {};
    case VaultAuth::kKubernetes:
      by_default("kubernetes");
      settings.secret_file = values["COFFER_VAULT_JWT_FILE"];
      if (settings.secret_file.empty()) settings.secret_file = kJwtOfPods;
      if (settings.role.empty()) return unusable("COFFER_VAULT_ROLE is not set");
      return {};
    case VaultAuth::kJwt:
      by_default("jwt");
      settings.secret_file = values["COFFER_VAULT_JWT_FILE"];
      if (settings.secret_file.empty()) return unusable("COFFER_VAULT_JWT_FILE is not set");
      return {};
    case VaultAuth::kCert:
      by_default("cert");
      if (settings.http.client_cert.empty())
        return unusable("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not set");
      return {};
  }
  return unusable("COFFER_VAULT_AUTH");
}

}  // namespace

Result<VaultSettings> VaultSettings::of_this_node() {
  NodeSettings values = TRY(node_settings(kSource));
  VaultSettings settings;
  TRY(set_address(settings, values["VAULT_ADDR"]));
  settings.name_space = values["VAULT_NAMESPACE"];
  settings.http.ca_file = values["VAULT_CACERT"];
  settings.http.client_cert = values["VAULT_CLIENT_CERT"];
  settings.http.client_key = values["VAULT_CLIENT_KEY"];
  settings.http.pin_sha256 = values["COFFER_VAULT_PIN_SHA256"];
  settings.http.most = 256 * 1024;  // of locked memory
  if (settings.http.client_cert.empty() != settings.http.client_key.empty())
    return unusable("of VAULT_CLIENT_CERT and VAULT_CLIENT_KEY one is set, and not the other");
  TRY(set_credentials(settings, values));
  return settings;
}

}  // namespace coffer
