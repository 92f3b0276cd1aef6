#pragma once

#include <functional>
#include <memory>
#include <string>

#include "keystore/access/selector.h"
#include "keystore/audit/audit_log.h"
#include "keystore/base/clock.h"
#include "keystore/cli/passphrase.h"
#include "keystore/cli/store_config.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// A store's keystore, unlocked for one run of the program.
struct KeystoreSession {
  StoreConfig config;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<MasterKms> master;
  std::unique_ptr<Keyring> keyring;
  std::unique_ptr<AuditLog> audit;

  struct Options {
    Keyring::Access access = Keyring::Access::kReadOnly;
    Keyring::IfOlder if_older = Keyring::IfOlder::kRefuse;
    PassphraseOptions passphrase;
    /// Hears why a rollback of the keystore can't be noticed, if it can't.
    std::function<void(const Error&)> report;
  };
  /// `root` is the store's directory. Compares the keystore with what this node has seen of it.
  static Result<KeystoreSession> open(const std::string& root, const Options& options);
  static Result<KeystoreSession> open(const std::string& root, Keyring::Access access,
                                      const PassphraseOptions& passphrase);

  /// A line of the audit log: an admin did `detail`.
  Result<void> note(std::string_view scope, std::string_view detail) const;
};

}  // namespace coffer
