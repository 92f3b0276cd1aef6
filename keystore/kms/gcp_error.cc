#include "keystore/kms/gcp_error.h"

#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {

GcpStatus GcpStatus::of(const HttpResponse& response) {
  const auto error = json_member(json_object(response.body.expose()), "error");
  return {without_secrets(json_text(error, "status")),
          without_secrets(json_text(error, "message"))};
}

Error gcp_failure(const HttpResponse& response, const std::string& what) {
  const auto [name, words] = GcpStatus::of(response);
  const std::string said =
      " (" + std::to_string(response.status) + (name.empty() ? "" : " ") + name + "): " + words;
  const auto error = [&](Code code, const std::string& why) {
    return Error{code, 0, what + ": " + why + said};
  };
  if (name == "INVALID_ARGUMENT" && words.find("Decryption failed") != std::string::npos)
    return {Code::kCorrupt, 0, "wrapped key does not authenticate"};
  if (name == "PERMISSION_DENIED") {
    return error(Code::kKmsDenied,
                 "Google refuses it, or there is no such key; see keystore/GCP.md for what a node "
                 "needs");
  }
  if (name == "UNAUTHENTICATED") return error(Code::kKmsDenied, "Google does not take our token");
  if (name == "NOT_FOUND") return error(Code::kKmsKeyMissing, "no such key is there");
  if (name == "FAILED_PRECONDITION")
    return error(Code::kKmsKeyDisabled, "the key or this version of it may not be used now");
  return error(Code::kKmsUnavailable, "Google can't answer now");
}

}  // namespace coffer
