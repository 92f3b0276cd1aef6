#pragma once

#include "keystore/kms/aws_credentials.h"

namespace coffer {

/// A role, and the file of the token that lets us assume it (OIDC, as in pods of EKS).
struct AwsWebIdentity {
  std::string role_arn;
  std::string token_file;
  std::string session_name;  ///< empty: "coffer"
  std::string region;        ///< of the STS to ask; may be empty where settings name one
};

/// From STS (AssumeRoleWithWebIdentity, AWS Security Token Service API Reference). Errors as those
/// of AwsCredentialChain::get.
Result<AwsCredentials> credentials_of_web_identity(const AwsWebIdentity& identity,
                                                   const AwsSettings& settings,
                                                   const HttpClient& http,
                                                   std::chrono::steady_clock::time_point until);

}  // namespace coffer
