#include "tests/unit/keystore/kms/aws_server.h"

#include <cstdlib>

#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer::testing {
namespace {

constexpr const char* kPodRole = "arn:aws:iam::111122223333:role/pod-role";
constexpr const char* kMachineRole = "machine-role";

void forget_settings() {
  for (const char* const name : {"AWS_ACCESS_KEY_ID",
                                 "AWS_SECRET_ACCESS_KEY",
                                 "AWS_SESSION_TOKEN",
                                 "AWS_REGION",
                                 "COFFER_AWS_KEYS",
                                 "AWS_DEFAULT_REGION",
                                 "AWS_ENDPOINT_URL",
                                 "AWS_ENDPOINT_URL_KMS",
                                 "AWS_ENDPOINT_URL_STS",
                                 "AWS_USE_FIPS_ENDPOINT",
                                 "AWS_CA_BUNDLE",
                                 "AWS_ROLE_ARN",
                                 "AWS_WEB_IDENTITY_TOKEN_FILE",
                                 "AWS_ROLE_SESSION_NAME",
                                 "AWS_PROFILE",
                                 "AWS_CONFIG_FILE",
                                 "AWS_SHARED_CREDENTIALS_FILE",
                                 "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                 "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                 "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                 "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                 "AWS_EC2_METADATA_DISABLED",
                                 "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                 "COFFER_AWS_CONFIG",
                                 "https_proxy",
                                 "HTTPS_PROXY",
                                 "http_proxy",
                                 "no_proxy"})
    ::unsetenv(name);
}

}  // namespace

bool have_aws_server() { return have_transit_server(); }

AwsServer::AwsServer() {
  restart();
  forget_settings();
  set_variable("AWS_ENDPOINT_URL_KMS", "https://" + host());
  set_variable("AWS_ENDPOINT_URL_STS", "https://" + host());
  set_variable("AWS_CA_BUNDLE", file("ca.pem"));
  // Not those of whoever runs the tests.
  set_variable("AWS_CONFIG_FILE", file("config"));
  set_variable("AWS_SHARED_CREDENTIALS_FILE", file("credentials"));
  set_variable("AWS_EC2_METADATA_DISABLED", "true");
  const std::vector<std::string> node = {"Encrypt", "Decrypt", "DescribeKey", "ReEncryptFrom",
                                         "ReEncryptTo"};
  allow("node", node);
  allow(kPodRole, node);
  allow(kMachineRole, node);
  use_access_key("node");
  key_ = make_key();
}

AwsServer::~AwsServer() { forget_settings(); }

void AwsServer::restart(const std::string& certificate) {
  run({COFFER_AWS_KMS_SERVER, dir_.path(), "--port", std::to_string(port_), "--metadata-port",
       std::to_string(metadata_port_), "--certificate", certificate});
  port_ = beginning().at("port");
  metadata_port_ = beginning().at("metadata_port");
}

nlohmann::json AwsServer::api(const std::string& operation, const nlohmann::json& body) {
  return ask({{"do", "api"}, {"operation", operation}, {"body", body}});
}

std::string AwsServer::make_key(nlohmann::json more) {
  more["do"] = "make_key";
  return ask(more);
}

void AwsServer::allow(const std::string& principal, const std::vector<std::string>& actions) {
  ask({{"do", "allow"}, {"principal", principal}, {"actions", actions}});
}

std::size_t AwsServer::seen(const std::string& name) { return requests_whose("name", name).size(); }

void AwsServer::forget_access_key() {
  for (const char* const name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
    set_variable(name, "");
}

void AwsServer::use_access_key(const std::string& principal, bool temporary) {
  const auto access = ask({{"do", "access"}, {"principal", principal}, {"temporary", temporary}});
  set_variable("AWS_ACCESS_KEY_ID", access.at("AccessKeyId"));
  set_variable("AWS_SECRET_ACCESS_KEY", access.at("SecretAccessKey"));
  set_variable("AWS_SESSION_TOKEN", access.at("Token"));
}

void AwsServer::use_web_identity(const std::string& subject, int ttl) {
  forget_access_key();
  ask({{"do", "trust"}, {"role", kPodRole}, {"subject", "pod"}});
  const std::string jwt = ask({{"do", "jwt"}, {"subject", subject}, {"ttl", ttl}});
  set_variable("AWS_ROLE_ARN", kPodRole);
  set_variable("AWS_WEB_IDENTITY_TOKEN_FILE", write("jwt", jwt + "\n", 0644));
}

void AwsServer::use_container() {
  forget_access_key();
  set_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata() + "/credentials");
  set_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", beginning().at("container_token"));
}

void AwsServer::use_machine() {
  forget_access_key();
  set_variable("AWS_EC2_METADATA_DISABLED", "");
  set_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata() + "/");
}

}  // namespace coffer::testing
