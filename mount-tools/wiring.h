#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fs/vfs/vfs.h"
#include "keystore/broker/key_broker.h"
#include "keystore/broker/recorder.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/crypto/aead.h"
#include "mount-tools/store_lock.h"

namespace coffer {

/// A store with everything that works on it, built in one place and passed down from here.
class OpenStore {
 public:
  struct Options {
    std::string root;
    bool read_only = false;
    bool for_kernel = false;  ///< it is going to be mounted
    std::string purpose;      ///< what others are told while the store is held for writing
    PassphraseOptions passphrase;
    KeyLifetime key_lifetime;
    Keyring::IfOlder if_older = Keyring::IfOlder::kRefuse;
    std::function<void(const Error&)> report = [](const Error&) {};
    std::function<void(const std::string&)> tell = [](const std::string&) {};
  };

  /// Opens keystore and backing; takes the store's lock unless read-only.
  static Result<std::unique_ptr<OpenStore>> open(const Options& options);
  /// The same for reading alone.
  static Result<std::unique_ptr<OpenStore>> open_read_only(const std::string& root,
                                                           const PassphraseOptions& passphrase);
  /// Commits and records what is left.
  ~OpenStore();
  OpenStore(const OpenStore&) = delete;
  OpenStore& operator=(const OpenStore&) = delete;

  /// Whether the root directory's record is whole and this store's; without it nothing in the store
  /// can be reached.
  Result<void> check_root();

  /// Vfs::lock, and the master key goes as well.
  Result<Vfs::LockedOut> drop_keys(const Vfs::LockOptions& how);
  /// The master key is taken up again, and then, if `note` puts that on record, all the others.
  /// Errors leave it locked: kWrongKey, kKeyUnavailable, and those of `note` and Vfs::unlock.
  Result<void> take_up_keys(const PassphraseSource& passphrase,
                            const std::function<Result<void>()>& note);

  [[nodiscard]] const StoreConfig& config() const { return session_.config; }
  [[nodiscard]] KeystoreSession& session() { return session_; }
  [[nodiscard]] const AeadEngine& engine() const { return *engine_; }
  [[nodiscard]] KeyBroker& broker() { return *broker_; }
  [[nodiscard]] Vfs& vfs() { return *vfs_; }
  [[nodiscard]] const StoreLock* lock() const { return lock_.has_value() ? &*lock_ : nullptr; }

 private:
  OpenStore() = default;
  /// The store is going to have extended attributes (Vfs::Options::begin_xattrs).
  Result<void> begin_xattrs();

  // They go from the last to the first.
  std::optional<StoreLock> lock_;
  KeystoreSession session_;
  std::optional<AeadEngine> engine_;
  std::unique_ptr<KeyBroker> broker_;
  std::shared_ptr<const BackingDir> backing_;
  Mutex raising_;  // while the store's format is raised
  std::unique_ptr<Vfs> vfs_;
  std::unique_ptr<Recorder> recorder_;  // its thread works on the Vfs, and ends first
};

}  // namespace coffer
