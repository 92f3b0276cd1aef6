#include "keystore/kms/azure_vault.h"

#include "keystore/kms/azure_error.h"

namespace coffer {
namespace {

/// Old enough to be known in all of Azure's clouds.
constexpr const char* kApi = "?api-version=7.4";

}  // namespace

Error not_azures(const AzureKeyUri& key) {
  return {Code::kKmsUnavailable, 0,
          key.name + " at " + key.host + ": Azure answers with what is none of its answers"};
}

AzureVault::AzureVault(const AzureKeyUri& place, AzureSettings settings)
    : settings_(std::move(settings)),
      host_(place.host),
      resource_(place.resource),
      origin_(settings_.endpoint.empty() ? "https://" + host_ : settings_.endpoint),
      credentials_(settings_),
      http_(settings_.http),
      tokens_([this](Time until) { return credentials_.get(resource_, until); }) {}

Result<HttpResponse> AzureVault::ask(const std::string& method, const std::string& path,
                                     const std::string& operation, const SecretBytes& body,
                                     Time until) {
  constexpr long kUnauthorized = 401;
  const auto send = [&](const SecretBytes& header) -> Result<HttpResponse> {
    HttpRequest request{.method = method,
                        .url = origin_ + path + kApi,
                        .headers = {"Content-Type: application/json"},
                        .secret_header = &header,
                        .body = body.clone()};
    if (!settings_.endpoint.empty()) request.headers.push_back("Host: " + host_);
    auto response = http_.send(request, until);
    if (!response && response.error().code == Code::kInvalid)
      return unusable_for_azure("COFFER_AZURE_ENDPOINT may not be asked: " +
                                response.error().context);
    if (response && response->status == kUnauthorized)
      TRY(check_azure_challenge(*response, resource_));
    return response;
  };
  auto response = TRY(tokens_.call(send, until));
  if (response.status != 200)
    return azure_failure(response, operation, operation + " of " + path + " at " + host_);
  return response;
}

Result<AzureKey> AzureVault::read(const AzureKeyUri& key, const std::string& version, Time until) {
  const std::string path = "/keys/" + key.name + (version.empty() ? "" : "/" + version);
  const auto response = TRY(ask("GET", path, "get", {}, until));
  auto found = AzureKey::from(response.body.expose(), key);
  if (!found || (!version.empty() && found->version != version)) return not_azures(key);
  return *std::move(found);
}

Result<HttpResponse> AzureVault::operate(const AzureKeyUri& key, const std::string& version,
                                         const std::string& operation, const SecretBytes& body,
                                         Time until) {
  return ask("POST", "/keys/" + key.name + "/" + version + "/" + operation, operation, body, until);
}

Result<std::optional<TlsFacts>> AzureVault::look(Time until) const {
  return http_.look(origin_, until);
}

}  // namespace coffer
