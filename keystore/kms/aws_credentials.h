#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/aws_settings.h"
#include "keystore/kms/http_client.h"

namespace coffer {

/// What requests to AWS are signed with.
struct AwsCredentials {
  std::string access_key_id;
  SecretBytes secret_access_key;
  SecretBytes session_token;                          ///< empty: none goes with them
  std::optional<std::chrono::seconds> lifetime = {};  ///< from when they were got
  std::string source = {};                            ///< for people: "role NAME of this machine"

  /// True if all can stand in a header or signature as it is.
  [[nodiscard]] bool is_well_formed() const;
};

/// True if both sign alike.
bool same_credential(const AwsCredentials& a, const AwsCredentials& b);

/// Where a node's credentials come from: the chain of AWS's own clients, in its order (environment,
/// web identity, profile, container, machine). The first that is set up counts, whatever comes of
/// it. Thread-safe.
class AwsCredentialChain {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `settings` outlive it.
  explicit AwsCredentialChain(const AwsSettings& settings);

  /// Got now. kKeyUnavailable, with the remedy, if nothing is set up or does not fit; kKmsDenied if
  /// whoever gives them refuses; else kKmsUnavailable.
  [[nodiscard]] Result<AwsCredentials> get(Time until) const;

 private:
  [[nodiscard]] Result<std::optional<AwsCredentials>> of_profile(Time until) const;

  const AwsSettings& settings_;
  const HttpClient http_;
  const HttpClient metadata_http_;
};

/// The name of an error, which is of up to 64 letters and so no secret; empty for other text.
std::string aws_plain_name(std::string_view name);

/// How long what ends at `expiration` ("2026-11-23T15:28:52Z") is good for, by the clock of who
/// says so (header Date of `response`), else by ours. None if it does not say when it ends.
std::optional<std::chrono::seconds> lifetime_until(std::string_view expiration,
                                                   const HttpResponse& response);

}  // namespace coffer
