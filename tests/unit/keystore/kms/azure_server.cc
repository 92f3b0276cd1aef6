#include "tests/unit/keystore/kms/azure_server.h"

#include <cstdlib>

namespace coffer::testing {
namespace {

void forget_settings() {
  for (const char* const name : {"AZURE_TENANT_ID",
                                 "AZURE_CLIENT_ID",
                                 "AZURE_CLIENT_SECRET",
                                 "AZURE_FEDERATED_TOKEN_FILE",
                                 "IDENTITY_SERVER_THUMBPRINT",
                                 "AZURE_AUTHORITY_HOST",
                                 "AZURE_CLIENT_CERTIFICATE_PATH",
                                 "IDENTITY_ENDPOINT",
                                 "IDENTITY_HEADER",
                                 "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                                 "COFFER_AZURE_KEYS",
                                 "COFFER_AZURE_ENDPOINT",
                                 "COFFER_AZURE_CLIENT_SECRET_FILE",
                                 "COFFER_AZURE_CA_FILE",
                                 "COFFER_AZURE_PIN_SHA256",
                                 "COFFER_AZURE_CONFIG",
                                 "https_proxy",
                                 "HTTPS_PROXY",
                                 "http_proxy",
                                 "no_proxy"}) {
    ::unsetenv(name);
  }
}

}  // namespace

AzureServer::AzureServer() {
  start("good");
  forget_settings();
  set_variable("COFFER_AZURE_KEYS", std::string(kVault) + ", " + kHsm);
  set_variable("COFFER_AZURE_ENDPOINT", url());
  set_variable("COFFER_AZURE_CA_FILE", file("ca.pem"));
  set_variable("AZURE_AUTHORITY_HOST", url() + "/");
  set_variable("AZURE_POD_IDENTITY_AUTHORITY_HOST", plain_url());
  set_variable("AZURE_TENANT_ID", tenant());
  set_variable("AZURE_CLIENT_ID", kNode);
  set_variable("AZURE_CLIENT_SECRET", kSecret);
  ask({{"do", "secret"}, {"client", kNode}, {"secret", kSecret}});
  make_pair("master");
  make_key("master", {{"kty", "oct-HSM"}}, kHsm);
  allow(kNode);
  allow(kNode, nullptr, kHsm);
}

AzureServer::~AzureServer() { forget_settings(); }

void AzureServer::start(const std::string& certificate) {
  run({COFFER_AZURE_SERVER, dir_.path(), "--port", std::to_string(port_), "--plain-port",
       std::to_string(plain_), "--certificate", certificate});
  port_ = beginning().at("port");
  plain_ = beginning().at("plain_port");
  pin_ = beginning().at("pin");
  tenant_ = beginning().at("tenant");
}

void AzureServer::restart(const std::string& certificate) { start(certificate); }

nlohmann::json AzureServer::api(const std::string& path, const nlohmann::json& body,
                                const std::string& method, const std::string& host) {
  return ask({{"do", "api"},
              {"host", host},
              {"path", "/keys/" + path},
              {"method", method},
              {"body", body}});
}

std::string AzureServer::make_key(const std::string& name, const nlohmann::json& body,
                                  const std::string& host) {
  const std::string kid = api(name + "/create", body, "POST", host).at("key").at("kid");
  return kid.substr(kid.rfind('/') + 1);
}

void AzureServer::make_pair(const std::string& name) {
  make_key(name);
  make_key(name + "-signer", {{"kty", "EC"}});
}

void AzureServer::set_attributes(const std::string& version, const nlohmann::json& attributes,
                                 const std::string& host) {
  api("master/" + version, {{"attributes", attributes}}, "PATCH", host);
}

void AzureServer::allow(const std::string& principal, const nlohmann::json& permissions,
                        const std::string& host) {
  ask({{"do", "allow"}, {"principal", principal}, {"host", host}, {"permissions", permissions}});
}

void AzureServer::forget_secret() {
  for (const char* const name : {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"})
    set_variable(name, "");
}

void AzureServer::use_federation(const std::string& subject, int ttl) {
  set_variable("AZURE_CLIENT_SECRET", "");
  const std::string token = ask({{"do", "jwt"}, {"subject", subject}, {"ttl", ttl}});
  set_variable("AZURE_FEDERATED_TOKEN_FILE", write("token", token + "\n", 0644));
}

void AzureServer::use_machine() {
  forget_secret();
  ask({{"do", "attach"}, {"clients", nlohmann::json::array({kNode})}});
}

void AzureServer::use_identity_endpoint() {
  use_machine();
  ask({{"do", "identity_header"}, {"header", "a-hidden-header-7531"}});
  set_variable("IDENTITY_ENDPOINT", plain_url() + "/msi/token");
  set_variable("IDENTITY_HEADER", "a-hidden-header-7531");
}

}  // namespace coffer::testing
