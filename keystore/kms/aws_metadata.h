#pragma once

#include "keystore/kms/aws_credentials.h"

namespace coffer {

/// Of a container's role (ECS, EKS Pod Identity): what its endpoint answers. Errors as those of
/// AwsCredentialChain::get.
Result<AwsCredentials> credentials_of_container(const AwsSettings& settings, const HttpClient& http,
                                                std::chrono::steady_clock::time_point until);

/// Of an EC2 machine's role: from its instance metadata service, by version 2 of that (a token
/// first). Likewise.
Result<AwsCredentials> credentials_of_machine(const AwsSettings& settings, const HttpClient& http,
                                              std::chrono::steady_clock::time_point until);

}  // namespace coffer
