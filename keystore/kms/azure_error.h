#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What Key Vault says of a failure (keystore/AZURE.md, "When Azure does not answer").
/// `operation`: "get", "sign" and so on; `what`: it, and of which key, for people.
Error azure_failure(const HttpResponse& response, const std::string& operation,
                    const std::string& what);

/// Looks at the challenge of a 401: kKmsDenied if it asks for a token for another resource than
/// `resource`, which would be good elsewhere.
Result<void> check_azure_challenge(const HttpResponse& response, const std::string& resource);

}  // namespace coffer
