#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// True if Python and PyKMIP are there.
bool have_kmip_server();

/// PyKMIP's server (tests/support/kmip_server.py) in a process of its own, which ends with this
/// object, and the environment in which a node finds it. One at a time.
class KmipServer : public StandIn {
 public:
  explicit KmipServer(const std::vector<std::string>& options = {});
  ~KmipServer();

  /// A new key, with what is to be said of it; its URI.
  std::string new_key(nlohmann::json about = nlohmann::json::object());
  /// What was asked since the last time, as far as it is of this operation (empty: any).
  nlohmann::json seen(const std::string& operation = "");
  /// Ends it, and starts it on the same port with other options; it knows what it knew.
  void restart(const std::vector<std::string>& options = {});
  /// The client certificate that the node has from here on.
  void use_certificate(const std::string& name);

  [[nodiscard]] const std::string& pin() const { return pin_; }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string uri(const std::string& uid) const {
    return "kmip://" + host() + "/" + uid;
  }

 private:
  void start(const std::vector<std::string>& options);

  int port_ = 0;
  std::string pin_;
};

}  // namespace coffer::testing
