#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fs/vfs/vfs.h"
#include "keystore/base/clock.h"
#include "keystore/broker/key_broker.h"
#include "keystore/broker/recorder.h"
#include "keystore/crypto/aead.h"
#include "keystore/keyring/keyring.h"
#include "keystore/kms/master_kms.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// What a store is made with.
struct StoreMaking {
  NamesMode names = NamesMode::kEncrypted;
  unsigned chunk_log2 = 12;
  bool granted = true;  ///< the root scope, with all rights, to the user who runs the test
  std::string name = "store";
};

/// How a store is opened.
struct StoreOpening {
  bool read_only = false;
  Syscalls* calls = nullptr;  ///< null: the real ones
  std::size_t directory_cache = 1024;
  /// Called before the keystore is told of files; null: nothing here loses power.
  std::function<Result<void>()> make_durable{};
  bool for_kernel = true;     ///< as on a mount
  bool retires_later = true;  ///< as on a mount
  bool after_crash = false;
  bool remembers = false;  ///< what was seen of the keystore, as a node does
};

/// A whole store of the test's own: backing directory, keystore under a local key file, audit log,
/// and the filesystem on top of them, which can be closed and opened again. Nothing is cached from
/// one opening to the next. What is not to be expected in setting up ends the test program.
class WholeStore {
 public:
  explicit WholeStore(StoreMaking making = {});
  /// Nothing is made: a backing directory and a keystore of the store `id` are put where `backing`
  /// and `beside("keystore.db")` say before it is opened. Its master key stays where it is.
  WholeStore(StoreId id, StoreMaking making);
  ~WholeStore();
  WholeStore(const WholeStore&) = delete;
  WholeStore& operator=(const WholeStore&) = delete;

  void open(const StoreOpening& opening = {});
  Result<void> try_open(const StoreOpening& opening = {});
  /// Commits and records all; a failure fails the test.
  void close();
  void reopen(const StoreOpening& opening = {});
  [[nodiscard]] bool is_open() const { return vfs_ != nullptr; }

  Vfs& vfs() { return *vfs_; }
  KeyBroker& broker() { return *broker_; }
  Keyring& keyring() { return *keyring_; }
  Recorder& recorder() { return *recorder_; }
  Clock& clock() { return clock_; }
  [[nodiscard]] StoreId id() const { return id_; }
  /// The backing directory, or a path in it.
  [[nodiscard]] std::string backing(const std::string& path = "") const;
  /// A path in the test's own directory, beside the backing.
  [[nodiscard]] std::string beside(const std::string& name) const { return dir_.file(name); }

  /// A scope rooted at a new directory, made as `coffer scope create` does. Nobody is granted it.
  ScopeId add_scope(const std::string& path, const ScopeSettings& settings = {});
  /// Selectors none: everyone. In force at once.
  GrantId grant(ScopeId scope, std::vector<std::string> selectors, std::uint8_t rights = 7);
  GrantId grant(GrantRow row);
  void revoke(GrantId id);

  /// Records all that is noted, and counts the keys of files by state.
  std::map<KeyState, std::size_t> key_states();
  [[nodiscard]] std::vector<nlohmann::json> audit() const;
  /// The lines written since the last call.
  std::vector<nlohmann::json> new_audit();
  /// What was reported since this was asked last: failures that no caller waited for.
  std::vector<std::string> reports();
  /// Errors reported from now on do not fail the test.
  void allow_reports() { reports_allowed_ = true; }

 private:
  void make();
  void note_report(const Error& error);

  TempDir dir_;
  StoreMaking making_;
  Clock clock_;
  StoreId id_;
  std::size_t audit_seen_ = 0;
  bool reports_allowed_ = false;

  Mutex reports_mutex_;
  std::vector<std::string> reports_ GUARDED_BY(reports_mutex_);

  // In the order they are built; they go in the other.
  std::unique_ptr<MasterKms> master_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<AuditLog> audit_;
  std::optional<AeadEngine> engine_;
  std::unique_ptr<KeyBroker> broker_;
  std::unique_ptr<Vfs> vfs_;
  std::unique_ptr<Recorder> recorder_;
};

/// A user who is not the one that runs the test, in the calling thread.
Caller user(uid_t uid);
/// `unix:uid:N` of whoever runs the test.
std::string own_selector();

}  // namespace coffer::testing
