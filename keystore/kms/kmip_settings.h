#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/kms/host_and_port.h"

namespace coffer {

constexpr unsigned kKmipPort = 5696;

/// What a node knows of its KMIP server by itself (keystore/KMIP.md, "Settings"): where it is, whom
/// to trust there, and as whom to speak. None of it comes from a keystore, for whoever alters one
/// would choose who is brought the node's certificate and keys.
struct KmipSettings {
  HostAndPort server;
  std::string ca_file;     ///< instead of the system's, if given
  std::string pin_sha256;  ///< base64; may be empty
  std::string client_cert;
  std::string client_key;     ///< a private file
  std::string user;           ///< empty: the certificate alone
  std::string password_file;  ///< a private file

  /// From the environment and, for what is not there, from /etc/coffer/kmip.conf (or the file that
  /// COFFER_KMIP_CONFIG names). kKeyUnavailable, with the remedy, if something is missing or does
  /// not fit.
  static Result<KmipSettings> of_this_node();
};

}  // namespace coffer
