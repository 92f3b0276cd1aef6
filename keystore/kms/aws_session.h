#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "keystore/base/clock.h"
#include "keystore/kms/aws_credentials.h"
#include "keystore/kms/aws_settings.h"
#include "keystore/kms/http_client.h"
#include "keystore/kms/kept_credential.h"

namespace coffer {

/// Signed calls to the KMS of one region, with credentials that are got before they end and got
/// anew when they are refused. Where AWS says that our clock is off, requests are dated by its own
/// from there on. Thread-safe; no lock is held across a call.
class AwsSession {
 public:
  using Time = std::chrono::steady_clock::time_point;

  AwsSession(AwsSettings settings, const std::string& region);

  /// The answer to `operation` ("Decrypt"), whatever its status: of a refusal, after credentials
  /// were got once more and the clock was set once, where that may help. Else as HttpClient::send
  /// and AwsCredentialChain::get.
  Result<HttpResponse> call(const std::string& operation, const SecretBytes& body, Time until);

  /// Of a connection to AWS KMS, as HttpClient::look.
  [[nodiscard]] Result<std::optional<TlsFacts>> look(Time until) const {
    return http_.look(endpoint_, until);
  }
  /// For people: where the credentials in use come from, and which access key they have.
  Result<std::string> identity(Time until);

 private:
  using Kept = KeptCredential<AwsCredentials>;

  Result<Kept::HeldPtr> credentials(Time until);
  Result<Kept::Fresh> get_credentials(Time until) const;
  Result<HttpResponse> send(const std::string& operation, const SecretBytes& body,
                            const AwsCredentials& credentials, std::int64_t ahead_s,
                            Time until) const;
  bool set_clock_by(const HttpResponse& response, std::int64_t ahead_s);

  const AwsSettings settings_;
  const std::string region_;
  const std::string endpoint_;
  const AwsCredentialChain chain_;
  const HttpClient http_;
  const Clock clock_;
  std::atomic<std::int64_t> ahead_s_{0};  ///< of our clock, as far as AWS told: its own
  Kept kept_;
};

/// The name of an error, without its namespace ("AccessDeniedException"); empty if the answer has
/// none.
std::string aws_error_name(const HttpResponse& response);

/// What AWS says of a failure, for people: no more than a line, and without words as long as a
/// token.
std::string aws_words(const HttpResponse& response);

}  // namespace coffer
