#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// True if Python and what the stand-in is made with are there.
bool have_transit_server();

/// The stand-in for Vault (tests/support/transit_server.py) in a process of its own, which ends
/// with this object, and the environment in which a node finds it. One at a time.
class TransitServer : public StandIn {
 public:
  explicit TransitServer(const std::vector<std::string>& options = {});
  ~TransitServer();

  /// A request of Vault's API, by root.
  nlohmann::json api(const std::string& path, const nlohmann::json& body = nlohmann::json::object(),
                     const std::string& method = "POST", const std::string& name_space = "");
  /// How many requests there were since the last time, of those whose path holds `path`.
  std::size_t seen(const std::string& path);
  /// A transit engine with a derived key `master`, and a policy `node` that may use it.
  void set_up_transit();
  /// A token with these policies for `ttl` seconds (0: for ever).
  std::string token(const std::string& policy, int ttl = 0);
  /// A role `node` of AppRole; the node logs in by it from here on. Its secret id is good `uses`
  /// times (0: always).
  void use_approle(int ttl, int uses = 0);
  /// Ends it, and starts it on the same port with other options; it knows what it knew.
  void restart(const std::vector<std::string>& options = {});

  [[nodiscard]] const std::string& root_token() const { return root_token_; }
  [[nodiscard]] const std::string& pin() const { return pin_; }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string uri(const std::string& key = "master") const {
    return "hcvault://" + host() + "/transit/keys/" + key;
  }

 private:
  void start(const std::vector<std::string>& options);

  int port_ = 0;
  std::string pin_;
  std::string root_token_;
};

}  // namespace coffer::testing
