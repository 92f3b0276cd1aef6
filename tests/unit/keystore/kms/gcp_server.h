#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// The stand-in for Google Cloud (tests/support/gcp_kms_server.py), and the environment in which a
/// node finds it: one with a service account attached, `kNode`, which may use all keys of the ring.
/// One at a time. Ends with this object.
class GcpServer : public StandIn {
 public:
  static constexpr const char* kNode = "node@p.iam.gserviceaccount.com";
  static constexpr const char* kRing = "projects/p/locations/europe-west3/keyRings/coffer";

  GcpServer();
  ~GcpServer();

  /// A request of the API's, by an admin; `path` from the ring on.
  nlohmann::json api(const std::string& path, const nlohmann::json& body = nlohmann::json::object(),
                     const std::string& method = "POST",
                     const nlohmann::json& query = nlohmann::json::object());
  void make_key(const std::string& name, const std::string& purpose = "ENCRYPT_DECRYPT");
  void rotate(const std::string& name = "master");
  void set_state(int version, const std::string& state, const std::string& name = "master");
  /// The requests since the last time, of those whose path holds `path`.
  std::vector<nlohmann::json> requests(const std::string& path) {
    return requests_whose("path", path);
  }
  std::size_t seen(const std::string& path) { return requests(path).size(); }

  /// The node's credentials are in a file with this content.
  void use_credentials(const nlohmann::json& content);
  /// The node has a key of its service account.
  void use_service_account();
  /// The node has tokens of another cloud, in a file or from where `source` says.
  void use_federation(const nlohmann::json& source, bool impersonate);

  /// Ends it, and starts it on the same ports with another certificate; it knows what it knew.
  void restart(const std::string& certificate = "good");

  [[nodiscard]] const std::string& pin() const { return pin_; }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string plain_host() const { return "127.0.0.1:" + std::to_string(plain_); }
  [[nodiscard]] static std::string uri(const std::string& key = "master") {
    return std::string("gcp-kms://") + kRing + "/cryptoKeys/" + key;
  }

 private:
  void start(const std::string& certificate);

  int port_ = 0;
  int plain_ = 0;
  std::string pin_;
};

}  // namespace coffer::testing
