#include "tests/unit/keystore/kms/transit_server.h"

#include <cstdlib>

namespace coffer::testing {
namespace {

constexpr const char* kNodePolicy = R"(
path "transit/keys/*" { capabilities = ["read"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
)";

void forget_settings() {
  for (const char* const name :
       {"VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CLIENT_CERT",
        "VAULT_CLIENT_KEY", "COFFER_VAULT_AUTH", "COFFER_VAULT_AUTH_MOUNT", "COFFER_VAULT_ROLE",
        "COFFER_VAULT_TOKEN_FILE", "COFFER_VAULT_SECRET_ID_FILE", "COFFER_VAULT_JWT_FILE",
        "COFFER_VAULT_PIN_SHA256", "COFFER_VAULT_CONFIG", "https_proxy", "HTTPS_PROXY",
        "http_proxy", "no_proxy"}) {
    ::unsetenv(name);
  }
}

}  // namespace

bool have_transit_server() {
  static const bool have = have_python("cryptography");
  return have;
}

TransitServer::TransitServer(const std::vector<std::string>& options) {
  start(options);
  forget_settings();
  const bool plain = !options.empty() && options[0] == "--plain";
  set_variable("VAULT_ADDR", (plain ? "http://" : "https://") + host());
  set_variable("VAULT_TOKEN", root_token_);
  set_variable("VAULT_CACERT", file("ca.pem"));
}

TransitServer::~TransitServer() { forget_settings(); }

void TransitServer::start(const std::vector<std::string>& options) {
  std::vector<std::string> words = {COFFER_TRANSIT_SERVER, dir_.path(), "--port",
                                    std::to_string(port_)};
  words.insert(words.end(), options.begin(), options.end());
  run(std::move(words));
  port_ = beginning().at("port");
  pin_ = beginning().at("pin");
  root_token_ = beginning().at("token");
}

void TransitServer::restart(const std::vector<std::string>& options) { start(options); }

nlohmann::json TransitServer::api(const std::string& path, const nlohmann::json& body,
                                  const std::string& method, const std::string& name_space) {
  return ask({{"do", "api"},
              {"path", path},
              {"body", body},
              {"method", method},
              {"namespace", name_space}});
}

std::size_t TransitServer::seen(const std::string& path) {
  return requests_whose("path", path).size();
}

void TransitServer::set_up_transit() {
  api("sys/mounts/transit", {{"type", "transit"}});
  api("transit/keys/master", {{"derived", true}});
  api("sys/policies/acl/node", {{"policy", kNodePolicy}});
}

std::string TransitServer::token(const std::string& policy, int ttl) {
  return api("auth/token/create", {{"policies", {policy}}, {"ttl", ttl}})
      .at("auth")
      .at("client_token");
}

void TransitServer::use_approle(int ttl, int uses) {
  api("sys/auth/approle", {{"type", "approle"}});
  api("auth/approle/role/node",
      {{"token_policies", {"node"}}, {"token_ttl", ttl}, {"secret_id_num_uses", uses}});
  const auto role = api("auth/approle/role/node/role-id", nlohmann::json::object(), "GET");
  const auto secret = api("auth/approle/role/node/secret-id");
  set_variable("VAULT_TOKEN", "");
  set_variable("COFFER_VAULT_AUTH", "approle");
  set_variable("COFFER_VAULT_ROLE", role.at("data").at("role_id"));
  set_variable("COFFER_VAULT_SECRET_ID_FILE",
               write("secret-id", secret.at("data").at("secret_id").get<std::string>() + "\n"));
}

}  // namespace coffer::testing
