#pragma once

#include <functional>
#include <memory>
#include <string>

#include "keystore/access/selector.h"
#include "keystore/audit/audit_log.h"
#include "keystore/base/clock.h"
#include "keystore/broker/checkpointer.h"
#include "keystore/cli/passphrase.h"
#include "keystore/cli/store_config.h"
#include "keystore/keyring/keyring.h"
#include "keystore/kms/lockable_kms.h"

namespace coffer {

/// A store's keystore, unlocked for one run of the program.
struct KeystoreSession {
  StoreConfig config;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<LockableKms> master;
  std::unique_ptr<Keyring> keyring;
  std::unique_ptr<AuditLog> audit;
  std::unique_ptr<Checkpointer> checkpointer;  // goes first: it works on the two before it

  struct Options {
    Keyring::Access access = Keyring::Access::kReadOnly;
    Keyring::IfOlder if_older = Keyring::IfOlder::kRefuse;
    PassphraseOptions passphrase;
    /// By the recovery master key and the copies that are kept for it: the primary is lost.
    bool by_recovery = false;
    KeyLifetime key_lifetime;
    /// Hears why a rollback of the keystore can't be noticed, if it can't; and why the audit log
    /// can't be signed.
    std::function<void(const Error&)> report;
  };
  /// `root` is the store's directory. Compares the keystore with what this node has seen of it.
  static Result<KeystoreSession> open(const std::string& root, const Options& options);
  static Result<KeystoreSession> open(const std::string& root, Keyring::Access access,
                                      const PassphraseOptions& passphrase);

  /// The master key of a session that let go of it, taken up again. kWrongKey, kKeyUnavailable.
  Result<void> take_up_master(const PassphraseSource& passphrase) const;

  /// A line of the audit log: an admin did `detail`.
  Result<void> note(std::string_view scope, std::string_view detail) const;
};

}  // namespace coffer
