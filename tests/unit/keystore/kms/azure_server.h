#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// The stand-in for Azure (tests/support/azure_kms_server.py), and the environment in which a node
/// finds it: one with a client secret, `kNode`, which may use the keys of a vault and an HSM. One
/// at a time. Ends with this object.
class AzureServer : public StandIn {
 public:
  static constexpr const char* kNode = "aaaaaaaa-0000-0000-0000-000000000001";
  static constexpr const char* kSecret = "a~Hidden+Secret~7531";
  static constexpr const char* kVault = "v-1.vault.azure.net";
  static constexpr const char* kHsm = "h-1.managedhsm.azure.net";

  AzureServer();
  ~AzureServer();

  /// A request of the API's, by an admin; `path` from /keys/ on.
  nlohmann::json api(const std::string& path, const nlohmann::json& body = nlohmann::json::object(),
                     const std::string& method = "POST", const std::string& host = kVault);
  /// A key, or one more version of it: this one's name.
  std::string make_key(const std::string& name, const nlohmann::json& body = {{"kty", "RSA"}},
                       const std::string& host = kVault);
  /// A vault's key, and the one that signs for it.
  void make_pair(const std::string& name);
  void set_attributes(const std::string& version, const nlohmann::json& attributes,
                      const std::string& host = kVault);
  /// Who may do what; all that a node needs if null.
  void allow(const std::string& principal, const nlohmann::json& permissions = nullptr,
             const std::string& host = kVault);
  /// The requests since the last time, of those whose path holds `path`.
  std::vector<nlohmann::json> requests(const std::string& path) {
    return requests_whose("path", path);
  }
  std::size_t seen(const std::string& path) { return requests(path).size(); }

  /// The node has nothing to log in with but what is set after this.
  static void forget_secret();
  /// The node has a federated token of `subject` in a file.
  void use_federation(const std::string& subject, int ttl = 600);
  /// The node has the managed identities of a machine, or of App Service.
  void use_machine();
  void use_identity_endpoint();

  /// Ends it, and starts it on the same ports with another certificate; it knows what it knew.
  void restart(const std::string& certificate = "good");

  [[nodiscard]] const std::string& pin() const { return pin_; }
  [[nodiscard]] const std::string& tenant() const { return tenant_; }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string plain_url() const {
    return "http://127.0.0.1:" + std::to_string(plain_);
  }
  [[nodiscard]] static std::string uri(const std::string& key = "master",
                                       const std::string& host = kVault) {
    return "azure-kms://" + host + "/keys/" + key;
  }

 private:
  void start(const std::string& certificate);

  int port_ = 0;
  int plain_ = 0;
  std::string pin_;
  std::string tenant_;
};

}  // namespace coffer::testing
