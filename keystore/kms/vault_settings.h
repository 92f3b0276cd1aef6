#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// How a node gets a token of Vault's.
enum class VaultAuth { kToken, kAppRole, kKubernetes, kJwt, kCert };

/// What a node knows of Vault by itself (keystore/VAULT.md, "Settings"): where it is, whom to trust
/// there, and what to log in with. None of it comes from a keystore, for whoever alters one would
/// choose who is told the node's secrets.
struct VaultSettings {
  std::string address;     ///< "https://HOST:PORT", normalised
  std::string name_space;  ///< of the login, and of keys whose URI names none
  VaultAuth auth = VaultAuth::kToken;
  std::string auth_mount;   ///< "approle"
  std::string role;         ///< role id of AppRole, name of a role or certificate else
  std::string secret_file;  ///< token, secret id or JWT; empty: `token` (or nothing)
  SecretBytes token;
  HttpSettings http;

  /// From the environment and, for what is not there, from /etc/coffer/vault.conf (or the file that
  /// COFFER_VAULT_CONFIG names). kKeyUnavailable, with the remedy, if something is missing or does
  /// not fit.
  static Result<VaultSettings> of_this_node();
};

}  // namespace coffer
