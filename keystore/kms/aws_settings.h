#pragma once

#include <string>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What a node knows of AWS by itself (keystore/AWS.md, "Settings"), by the names that AWS's own
/// clients give it: whom to ask, and what for credentials. None of it comes from a keystore, for
/// whoever alters one would choose who is told the node's secrets.
struct AwsSettings {
  std::string region;        ///< the node's own, for STS
  std::string kms_endpoint;  ///< "https://HOST:PORT" of a private one; empty: AWS's
  std::string sts_endpoint;
  bool fips = false;
  /// What the ARNs of keys have to lie under; empty: any.
  std::vector<std::string> keys;

  std::string access_key_id;  ///< of the environment
  SecretBytes secret_access_key;
  SecretBytes session_token;

  std::string role_arn;  ///< of a web identity, as in pods
  std::string web_identity_token_file;
  std::string role_session_name;

  std::string profile;  ///< empty: none is named, and "default" need not be there
  std::string config_file;
  std::string credentials_file;

  std::string container_uri;  ///< whole
  SecretBytes container_token;
  std::string container_token_file;

  std::string metadata_endpoint;  ///< of EC2; empty: not to be asked
  HttpSettings http;

  /// From the environment and, for what is not there, from /etc/coffer/aws.conf (or the file that
  /// COFFER_AWS_CONFIG names); access keys and tokens from the environment alone. kKeyUnavailable,
  /// with the remedy, if something does not fit.
  static Result<AwsSettings> of_this_node();
};

/// kKeyUnavailable, with a word on where settings are explained.
Error unusable_aws(const std::string& words);

/// Where containers and machines get credentials over plain HTTP (besides loopback).
std::vector<std::string> aws_metadata_hosts();

}  // namespace coffer
