#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// What the shared files of AWS's clients (~/.aws/credentials, ~/.aws/config) hold of one profile,
/// as far as coffer knows it. What both set, the credentials file does.
struct AwsProfile {
  bool found = false;
  std::string access_key_id;
  SecretBytes secret_access_key;
  SecretBytes session_token;
  std::string role_arn;
  std::string web_identity_token_file;
  std::string role_session_name;
  std::string region;
  std::string other_way;  ///< a setting of credentials that coffer can't get ("sso_session")

  /// A file that is not there holds nothing. kKeyUnavailable, with the remedy, for one that others
  /// can read, for it may hold a secret.
  static Result<AwsProfile> read(const std::string& config_file,
                                 const std::string& credentials_file, const std::string& name);
};

}  // namespace coffer
