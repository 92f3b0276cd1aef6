#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/stand_in_process.h"

namespace coffer::testing {

/// True if Python and PyKMIP are there.
bool have_kmip_server();

/// PyKMIP's server (tests/support/kmip_server.py) in a process of its own, which ends with this
/// object, and the environment in which a node finds it. One at a time.
class KmipServer {
 public:
  explicit KmipServer(const std::vector<std::string>& options = {});
  ~KmipServer();
  KmipServer(const KmipServer&) = delete;
  KmipServer& operator=(const KmipServer&) = delete;

  /// {"do": …}: what it answers. Throws if it refuses.
  nlohmann::json ask(const nlohmann::json& command) { return process_->ask(command); }
  /// A new key, with what is to be said of it; its URI.
  std::string new_key(nlohmann::json about = nlohmann::json::object());
  /// The next `times` answers to an operation ("Decrypt"; empty: to any) go wrong so.
  void trouble(const std::string& kind, const std::string& operation = "", int times = 1);
  /// What was asked since the last time, as far as it is of this operation (empty: any).
  nlohmann::json seen(const std::string& operation = "");
  /// Ends it, and starts it on the same port with other options; it knows what it knew.
  void restart(const std::vector<std::string>& options = {});
  void stop() { process_.reset(); }
  /// The client certificate that the node has from here on.
  void use_certificate(const std::string& name);

  [[nodiscard]] const std::string& pin() const { return pin_; }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string uri(const std::string& uid) const {
    return "kmip://" + host() + "/" + uid;
  }
  [[nodiscard]] std::string file(const std::string& name) const { return dir_.file(name); }
  /// A private file with this content.
  std::string write(const std::string& name, const std::string& content,
                    unsigned mode = 0600) const {
    return write_file(dir_, name, content, mode);
  }

 private:
  void start(const std::vector<std::string>& options);

  TempDir dir_;
  int port_ = 0;
  std::string pin_;
  std::optional<StandInProcess> process_;
};

}  // namespace coffer::testing
