#pragma once

#include <string>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What a node knows of Google Cloud by itself (keystore/GCP.md, "Settings"): where it is asked,
/// whom to trust there, and what to log in with. None of it comes from a keystore, for whoever
/// alters one would choose who is told the node's secrets.
struct GcpSettings {
  std::string endpoint;  ///< "https://HOST:PORT", normalised
  /// What the names of keys have to lie under; empty: any.
  std::vector<std::string> keys;
  std::string quota_project;     ///< empty: the credentials' own
  std::string credentials_file;  ///< empty: the metadata server is asked
  std::string metadata_host;     ///< HOST[:PORT]
  HttpSettings http;             ///< of the endpoint
  HttpSettings login_http;       ///< of whoever gives tokens

  /// From the environment and, for what is not there, from /etc/coffer/gcp.conf (or the file that
  /// COFFER_GCP_CONFIG names). kKeyUnavailable, with the remedy, if something does not fit.
  static Result<GcpSettings> of_this_node();
};

/// kKeyUnavailable, with a word on where settings are explained.
Error unusable_for_gcp(const std::string& words);

}  // namespace coffer
