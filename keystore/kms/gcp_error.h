#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What an API of Google's says of a failure (google.rpc.Status in JSON).
struct GcpStatus {
  std::string name;   ///< "PERMISSION_DENIED"; empty if it is no such answer
  std::string words;  ///< for people (without_secrets)

  static GcpStatus of(const HttpResponse& response);
};

/// By the name of the status, and not by HTTP's (keystore/GCP.md, "When Google does not answer").
/// `what`: the operation, for people.
Error gcp_failure(const HttpResponse& response, const std::string& what);

}  // namespace coffer
