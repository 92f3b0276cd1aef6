#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fs/identity/identity_resolver.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// Where the control sockets of this user's mounts lie: $COFFER_RUNTIME_DIR, else /run/coffer for
/// root, else $XDG_RUNTIME_DIR/coffer or /tmp/coffer-UID. An empty variable counts as unset.
std::string runtime_directory();
/// The socket of the mount at an absolute mountpoint.
std::string control_path(const std::string& mountpoint);
/// All sockets there are.
std::vector<std::string> control_paths();

/// A mount's ear for `coffer status` and its like: a Unix socket that takes one line and answers
/// with one. Only root and the user who mounted are heard.
class ControlServer {
 public:
  /// Answers one request line of `caller`; called from the server's thread, one at a time.
  /// `passphrase` asks the caller for one, who is to have it at hand.
  using Handler = std::function<std::string(const std::string& request, const Caller& caller,
                                            const PassphraseSource& passphrase)>;

  static Result<std::unique_ptr<ControlServer>> start(const std::string& path, Handler handler);
  /// Removes the socket.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  ControlServer(std::string path, UniqueFd listener, UniqueFd stop_reader, UniqueFd stop_writer,
                Handler handler);
  void loop();
  void answer(const UniqueFd& peer);

  std::string path_;
  UniqueFd listener_;
  UniqueFd stop_reader_;
  UniqueFd stop_writer_;
  Handler handler_;
  std::thread thread_;
};

/// How long a mount that is told "learn" says more of its callers in the audit log.
inline constexpr std::chrono::seconds kLearningStep{60};

/// Sends a line to a mount and gives its answer. kNotFound if nobody listens there (a socket that a
/// killed daemon left is removed). `passphrase` is for a mount that asks for it.
Result<std::string> ask_mount(const std::string& path, const std::string& request,
                              const PassphraseSource& passphrase = nullptr);

}  // namespace coffer
