#pragma once

#include <string>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What a node knows of Azure by itself (keystore/AZURE.md, "Settings"), by the names that Azure's
/// own clients give it: which keys are its own, whom to trust, and what to log in with. None of
/// it comes from a keystore, for whoever alters one would choose who is told the node's secrets.
struct AzureSettings {
  std::vector<std::string> keys;  ///< that may be used: hosts, or "HOST/keys/NAME"
  std::string endpoint;           ///< "https://HOST:PORT", asked in place of hosts; empty: they are

  std::string authority;  ///< "https://login.microsoftonline.com"
  std::string tenant;
  std::string client;
  SecretBytes client_secret;  ///< of the environment
  std::string client_secret_file;
  std::string federated_token_file;

  std::string identity_endpoint;  ///< of App Service and the like; whole
  SecretBytes identity_header;
  std::string metadata_endpoint;  ///< of a machine, "http://HOST[:PORT]"

  HttpSettings http;        ///< of vaults
  HttpSettings login_http;  ///< of whoever gives tokens

  /// From the environment and, for what is not there, from /etc/coffer/azure.conf (or the file that
  /// COFFER_AZURE_CONFIG names); secrets from the environment alone. kKeyUnavailable, with the
  /// remedy, if something does not fit.
  static Result<AzureSettings> of_this_node();
};

/// kKeyUnavailable, with a word on where settings are explained.
Error unusable_for_azure(const std::string& words);

}  // namespace coffer
