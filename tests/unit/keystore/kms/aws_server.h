#pragma once

#include <string>
#include <vector>

#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// True if Python and what the stand-in is made with are there.
bool have_aws_server();

/// The stand-in for AWS (tests/support/aws_kms_server.py), and the environment in which a node
/// finds it and has an access key of principal `node`, who may use all keys. One at a time.
class AwsServer : public StandIn {
 public:
  AwsServer();
  ~AwsServer();

  /// A request of KMS's API, by root.
  nlohmann::json api(const std::string& operation, const nlohmann::json& body);
  /// The ARN of a new key. `more`: fields that it is to have.
  std::string make_key(nlohmann::json more = nlohmann::json::object());
  void allow(const std::string& principal, const std::vector<std::string>& actions);
  /// How many requests there were since the last time, of those whose name holds `name`.
  std::size_t seen(const std::string& name);

  /// The node has no access key from here on, and no metadata service.
  void forget_access_key();
  /// An access key of this principal, in the environment.
  void use_access_key(const std::string& principal, bool temporary = false);
  /// The node has a role by a web identity, as in a pod.
  void use_web_identity(const std::string& subject = "pod", int ttl = 600);
  /// The node is a container with a role.
  void use_container();
  /// The node is a machine with a role.
  void use_machine();

  /// Ends it, and starts it on the same ports with another certificate; it knows what it knew.
  void restart(const std::string& certificate = "good");

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] std::string uri() const { return "aws-kms://" + key_; }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string metadata() const {
    return "http://127.0.0.1:" + std::to_string(metadata_port_);
  }

 private:
  int port_ = 0;
  int metadata_port_ = 0;
  std::string key_;
};

}  // namespace coffer::testing
