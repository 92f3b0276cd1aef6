#include "tests/unit/keystore/kms/kmip_server.h"

#include <cstdlib>

namespace coffer::testing {
namespace {

void forget_settings() {
  for (const char* const name :
       {"COFFER_KMIP_SERVER", "COFFER_KMIP_CA", "COFFER_KMIP_PIN_SHA256", "COFFER_KMIP_CLIENT_CERT",
        "COFFER_KMIP_CLIENT_KEY", "COFFER_KMIP_USER", "COFFER_KMIP_PASSWORD_FILE",
        "COFFER_KMIP_CONFIG"}) {
    ::unsetenv(name);
  }
}

}  // namespace

bool have_kmip_server() {
  static const bool have = have_python("kmip.services.server");
  return have;
}

KmipServer::KmipServer(const std::vector<std::string>& options) {
  start(options);
  forget_settings();
  set_variable("COFFER_KMIP_SERVER", host());
  set_variable("COFFER_KMIP_CA", file("ca.pem"));
  use_certificate("node");
}

KmipServer::~KmipServer() { forget_settings(); }

void KmipServer::use_certificate(const std::string& name) {
  set_variable("COFFER_KMIP_CLIENT_CERT", file(name + ".pem"));
  set_variable("COFFER_KMIP_CLIENT_KEY", file(name + ".key"));
}

void KmipServer::start(const std::vector<std::string>& options) {
  std::vector<std::string> words = {"-W",        "ignore", COFFER_KMIP_SERVER,
                                    dir_.path(), "--port", std::to_string(port_)};
  words.insert(words.end(), options.begin(), options.end());
  run(std::move(words));
  port_ = beginning().at("port");
  pin_ = beginning().at("pin");
}

void KmipServer::restart(const std::vector<std::string>& options) { start(options); }

std::string KmipServer::new_key(nlohmann::json about) {
  about["do"] = "key";
  return uri(ask(about).get<std::string>());
}

nlohmann::json KmipServer::seen(const std::string& operation) {
  return requests_whose("operation", operation);
}

}  // namespace coffer::testing
