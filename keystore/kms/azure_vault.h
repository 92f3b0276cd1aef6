#pragma once

#include <optional>
#include <string>

#include "keystore/kms/azure_credentials.h"
#include "keystore/kms/azure_key.h"
#include "keystore/kms/azure_settings.h"
#include "keystore/kms/bearer_token.h"

namespace coffer {

/// Requests to one vault or Managed HSM, with the node's tokens. Thread-safe; no lock is held
/// across a request.
class AzureVault {
 public:
  using Time = BearerTokens::Time;

  /// Of the vault where `place` is.
  AzureVault(const AzureKeyUri& place, AzureSettings settings);

  /// GET KEY/VERSION; the newest one if `version` is empty. kKmsUnavailable if the answer is of
  /// another key.
  Result<AzureKey> read(const AzureKeyUri& key, const std::string& version, Time until);
  /// POST KEY/VERSION/OPERATION: the answer, if it is one of 200. Else as azure_failure.
  Result<HttpResponse> operate(const AzureKeyUri& key, const std::string& version,
                               const std::string& operation, const SecretBytes& body, Time until);
  /// Of a connection, as HttpClient::look.
  [[nodiscard]] Result<std::optional<TlsFacts>> look(Time until) const;
  /// For people: who the node is.
  [[nodiscard]] std::string identity() const { return credentials_.identity(); }

 private:
  Result<HttpResponse> ask(const std::string& method, const std::string& path,
                           const std::string& operation, const SecretBytes& body, Time until);

  const AzureSettings settings_;
  const std::string host_;
  const std::string resource_;
  const std::string origin_;  ///< "https://HOST[:PORT]"
  const AzureCredentials credentials_;
  const HttpClient http_;
  BearerTokens tokens_;
};

/// "Azure answers with what is none of its answers."
Error not_azures(const AzureKeyUri& key);

}  // namespace coffer
