#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// True if Python and what the stand-in is made with are there.
bool have_aws_server();

/// The stand-in for AWS (tests/support/aws_kms_server.py), and the environment in which a node
/// finds it and has an access key of principal `node`, who may use all keys. One at a time.
class AwsServer {
 public:
  AwsServer();
  ~AwsServer();
  AwsServer(const AwsServer&) = delete;
  AwsServer& operator=(const AwsServer&) = delete;

  nlohmann::json ask(const nlohmann::json& command) { return process_->ask(command); }
  /// A request of KMS's API, by root.
  nlohmann::json api(const std::string& operation, const nlohmann::json& body);
  /// The ARN of a new key. `more`: fields that it is to have.
  std::string make_key(nlohmann::json more = nlohmann::json::object());
  void allow(const std::string& principal, const std::vector<std::string>& actions);
  /// The next `times` requests whose name (an operation, or a path) holds `name` end so.
  void trouble(const std::string& kind, const std::string& name = "", int times = 1);
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

  void stop() { process_.reset(); }
  /// Ends it, and starts it on the same ports with another certificate; it knows what it knew.
  void restart(const std::string& certificate = "good");

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] std::string uri() const { return "aws-kms://" + key_; }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string metadata() const {
    return "http://127.0.0.1:" + std::to_string(metadata_port_);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return dir_.file(name); }
  /// A private file with this content.
  std::string write(const std::string& name, const std::string& content,
                    unsigned mode = 0600) const {
    return write_file(dir_, name, content, mode);
  }

 private:
  TempDir dir_;
  int port_ = 0;
  int metadata_port_ = 0;
  std::optional<StandInProcess> process_;
  std::string key_;
};

}  // namespace coffer::testing
