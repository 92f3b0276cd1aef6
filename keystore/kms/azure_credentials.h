#pragma once

#include <string>

#include "keystore/kms/azure_settings.h"
#include "keystore/kms/bearer_token.h"

namespace coffer {

/// How this node shows Microsoft Entra ID who it is, in the order of Azure's
/// DefaultAzureCredential: a client secret, a federated token (workload identity), or the managed
/// identity of where it runs. Files are read anew for each token. Thread-safe. The settings outlive
/// it.
class AzureCredentials {
 public:
  using Time = BearerTokens::Time;

  explicit AzureCredentials(const AzureSettings& settings);

  /// A token for `resource`. kKeyUnavailable if what it takes is missing here, kKmsDenied if it is
  /// refused, else kKmsUnavailable.
  Result<BearerToken> get(const std::string& resource, Time until) const;
  /// Who that is, as far as it is known here.
  [[nodiscard]] std::string identity() const;

 private:
  Result<BearerToken> by_secret(const std::string& resource, Time until) const;
  Result<BearerToken> by_federation(const std::string& resource, Time until) const;
  Result<BearerToken> by_identity_endpoint(const std::string& resource, Time until) const;
  Result<BearerToken> by_metadata(const std::string& resource, Time until) const;
  /// POST of what shows who we are to the tenant.
  Result<BearerToken> from_tenant(const std::string& resource, Bytes proof, Time until) const;
  /// GET of where a managed identity's tokens are.
  Result<HttpResponse> ask_identity(const HttpRequest& request, Time until) const;
  [[nodiscard]] bool has_secret() const;
  [[nodiscard]] std::string client_parameter() const;

  const AzureSettings& settings_;
  const HttpClient http_;
};

}  // namespace coffer
