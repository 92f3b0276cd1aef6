#include "tests/unit/keystore/kms/gcp_server.h"

#include <cstdlib>

namespace coffer::testing {
namespace {

void forget_settings() {
  for (const char* const name :
       {"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT", "GCE_METADATA_HOST",
        "CLOUDSDK_CONFIG", "COFFER_GCP_ENDPOINT", "COFFER_GCP_KEYS", "COFFER_GCP_CA_FILE",
        "COFFER_GCP_PIN_SHA256", "COFFER_GCP_CONFIG", "https_proxy", "HTTPS_PROXY", "http_proxy",
        "no_proxy"}) {
    ::unsetenv(name);
  }
}

}  // namespace

GcpServer::GcpServer() {
  start("good");
  forget_settings();
  set_variable("COFFER_GCP_ENDPOINT", url());
  set_variable("COFFER_GCP_CA_FILE", file("ca.pem"));
  set_variable("GCE_METADATA_HOST", plain_host());
  set_variable("CLOUDSDK_CONFIG", file("nothing"));
  make_key("master");
  ask({{"do", "allow"}, {"principal", kNode}, {"resource", kRing}});
  ask({{"do", "attach"}, {"email", kNode}});
}

GcpServer::~GcpServer() { forget_settings(); }

void GcpServer::start(const std::string& certificate) {
  run({COFFER_GCP_SERVER, dir_.path(), "--port", std::to_string(port_), "--plain-port",
       std::to_string(plain_), "--certificate", certificate});
  port_ = beginning().at("port");
  plain_ = beginning().at("plain_port");
  pin_ = beginning().at("pin");
}

void GcpServer::restart(const std::string& certificate) { start(certificate); }

nlohmann::json GcpServer::api(const std::string& path, const nlohmann::json& body,
                              const std::string& method, const nlohmann::json& query) {
  return ask({{"do", "api"},
              {"path", std::string(kRing) + path},
              {"method", method},
              {"body", body},
              {"query", query}});
}

void GcpServer::make_key(const std::string& name, const std::string& purpose) {
  api("/cryptoKeys", {{"purpose", purpose}}, "POST", {{"cryptoKeyId", name}});
}

void GcpServer::rotate(const std::string& name) {
  const std::string path = "/cryptoKeys/" + name;
  const std::string made = api(path + "/cryptoKeyVersions").at("name");
  api(path + ":updatePrimaryVersion", {{"cryptoKeyVersionId", made.substr(made.rfind('/') + 1)}});
}

void GcpServer::set_state(int version, const std::string& state, const std::string& name) {
  api("/cryptoKeys/" + name + "/cryptoKeyVersions/" + std::to_string(version), {{"state", state}},
      "PATCH");
}

void GcpServer::use_credentials(const nlohmann::json& content) {
  set_variable("GOOGLE_APPLICATION_CREDENTIALS", write("credentials.json", content.dump(2)));
}

void GcpServer::use_service_account() {
  use_credentials(ask({{"do", "service_account"}, {"email", kNode}}));
}

void GcpServer::use_federation(const nlohmann::json& source, bool impersonate) {
  nlohmann::json content = {{"type", "external_account"},
                            {"audience", ask({{"do", "audience"}})},
                            {"subject_token_type", "urn:ietf:params:oauth:token-type:jwt"},
                            {"token_url", url() + "/v1/token"},
                            {"credential_source", source}};
  if (impersonate) {
    content["service_account_impersonation_url"] =
        url() + "/v1/projects/-/serviceAccounts/" + kNode + ":generateAccessToken";
  }
  use_credentials(content);
}

}  // namespace coffer::testing
