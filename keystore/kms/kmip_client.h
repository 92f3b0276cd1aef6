#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/crypto/tls_stream.h"
#include "keystore/kms/kmip_message.h"
#include "keystore/kms/kmip_settings.h"

namespace coffer {

/// Calls to one KMIP server, over connections that are kept and used again, as many as there are
/// threads that call at once. Certificate, key and password are read anew for each new connection,
/// so that a daemon takes up those that were renewed. Thread-safe; no lock is held across a call.
class KmipClient {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit KmipClient(KmipSettings settings);
  ~KmipClient();

  /// The server's answer, whether or not it did what it was asked. A kept connection that has
  /// ended, or as whose user it takes us no more, is replaced by a new one, once. kKeyUnavailable
  /// for files that can't be used, kKmsDenied if it refuses our certificate, else kKmsUnavailable:
  /// no answer by `until`, half an answer, none of KMIP's, or one of a server that does not verify.
  Result<KmipAnswer> ask(std::span<const KmipRequestItem> items, Time until);

  /// Of a connection to the server as it is now; errors as `ask`.
  Result<TlsFacts> facts(Time until);

  [[nodiscard]] const KmipSettings& settings() const { return settings_; }

 private:
  struct Connection;
  using ConnectionPtr = std::unique_ptr<Connection>;

  Result<ConnectionPtr> connect(Time until) const;
  ConnectionPtr take();
  void put_back(ConnectionPtr connection);
  Result<KmipAnswer> exchange(Connection& connection, std::span<const KmipRequestItem> items,
                              Time until) const;
  [[nodiscard]] Error failure(const Error& error) const;

  const KmipSettings settings_;
  const std::string name_;  ///< for messages
  Mutex mutex_;
  std::vector<ConnectionPtr> idle_ GUARDED_BY(mutex_);
};

}  // namespace coffer
