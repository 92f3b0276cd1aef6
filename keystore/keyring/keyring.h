#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "keystore/base/clock.h"
#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "keystore/db/database.h"
#include "keystore/keyring/key_cache.h"
#include "keystore/keyring/newest_seen.h"
#include "keystore/keyring/recovery.h"
#include "keystore/keyring/rows.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// What can be known of a keystore before its master key is: where that key is, and whose store
/// this is. Not authenticated.
struct KeystorePeek {
  StoreId store;
  MasterKeyRecord master;
  ByteVector policy_key;  ///< wrapped by it
  std::optional<RecoveryKey> recovery;
};

struct StoredDek;

/// Opens another master key, shows it to `check`, and if that is content has the Keyring's own be
/// that one. Errors as open_master's and `check`'s.
using TakeUpMaster = std::function<Result<void>(
    const MasterKeyRecord& record, const std::function<Result<void>(MasterKms&)>& check)>;

/// The keystore: scopes, KEKs, DEKs and grants in an SQLite file, all keys wrapped
/// (keystore/FORMAT.md). Thread-safe. No lock is held while the KMS is asked.
class Keyring {
 public:
  struct CreateOptions {
    std::string path;
    StoreId store;
    NamesMode names = NamesMode::kEncrypted;
    DirId root_dir;
    ScopeSettings root_scope;
    GrantRow first_grant;  ///< of the root scope; id and scope are filled in
  };

  /// Makes a keystore with its root scope and one grant. Leaves no file behind if it fails.
  static Result<void> create(const CreateOptions& options, MasterKms& master, const Clock& clock);

  /// kKeystoreMissing, kCorrupt, kUnknownVersion.
  static Result<KeystorePeek> peek(const std::string& path);

  enum class Access { kReadWrite, kReadOnly };
  /// What becomes of a keystore older than what was seen: kTake reads it all the same, so that it
  /// can be accepted; until then nothing should be written.
  enum class IfOlder { kRefuse, kTake };
  /// Which wrapped keys are read: those of the primary, or the copies of the recovery key, which
  /// then has to be a RecoveredKms.
  enum class Source { kPrimary, kCopies };
  /// Opens the keystore of `store` and authenticates its policy. kForeignKeystore if it is another
  /// store's; kWrongKey, kKeyUnavailable from the master key; kCorrupt if the policy was altered;
  /// kRolledBack if it is older than what this node remembers at `seen`. So does whatever reads or
  /// writes policy or records later. `master` and `clock` outlive the Keyring.
  static Result<std::unique_ptr<Keyring>> open(const std::string& path, Access access,
                                               StoreId store, MasterKms& master, const Clock& clock,
                                               KeyLifetime lifetime = {},
                                               NewestSeen::Place seen = {},
                                               IfOlder if_older = IfOlder::kRefuse,
                                               Source source = Source::kPrimary);

  [[nodiscard]] StoreId store() const { return store_; }
  [[nodiscard]] KeyLifetime lifetime() const { return lifetime_; }
  /// How to go on when the keystore names another master key than ours; without it that is an error
  /// (kKeyUnavailable). To be said before others use the Keyring.
  void follow_master(TakeUpMaster take_up) { take_up_master_ = std::move(take_up); }
  [[nodiscard]] bool writable() const { return access_ == Access::kReadWrite; }

  /// Scopes and grants, authenticated. kCorrupt if they were altered.
  Result<PolicySnapshot> policy();
  /// Differs from an earlier answer if another process has committed since.
  Result<std::int64_t> data_version();
  /// The same of any commit, this process's own too; never waits for one.
  Result<std::int64_t> read_version();
  /// kRolledBack if another file lies at the keystore's path than the one that was opened.
  [[nodiscard]] Result<void> in_place() const;

  /// A keystore that was put back, and the newest that was seen before.
  struct Older {
    KeystoreState found;
    KeystoreState seen;
  };
  /// Nothing if it is not older than what was seen. For one opened with IfOlder::kTake.
  Result<std::optional<Older>> older();
  /// Makes it the newest there is, by a generation above all that was seen, which is the answer;
  /// older ones are refused from now on.
  Result<std::uint64_t> supersede_seen();

  /// kExists if there is a scope of that path.
  Result<ScopeId> add_scope(const std::string& path, DirId root_dir, const ScopeSettings& settings);
  /// Takes back a scope that was just made. kNotFound if there is none of that id, kExists if keys
  /// of files or grants belong to it. Its id is never given to another.
  Result<void> remove_scope(ScopeId scope);
  /// Brings the scope into another state; keys in it are used in kActive alone. kNotFound if there
  /// is none of that id, kExists if it is in that state, kInvalid if that can't be (may_become).
  Result<void> set_scope_state(ScopeId scope, KeyState state);
  /// kNotFound if there is no such scope.
  Result<void> set_scope_flags(ScopeId scope, ScopeFlags flags);
  /// kInvalid unless it names rights, and either selectors or everyone; kNotFound if there is no
  /// such scope.
  Result<GrantId> add_grant(const GrantRow& grant);
  /// kNotFound if there is none of that id, kExists if it was revoked before.
  Result<void> revoke_grant(GrantId id);

  /// Notes, for good, that objects of the store may have extended attributes. No error if it is
  /// noted already.
  Result<void> allow_xattrs();

  /// The secret that a scope's name keys come from.
  Result<SecretBytes> scope_secret(ScopeId scope);

  /// `count` new DEKs of the scope, committed in pre-activation.
  Result<std::vector<Dek>> make_deks(ScopeId scope, std::size_t count);
  /// Removes DEKs made and never used.
  Result<void> discard_deks(std::span<const FileId> files);
  /// One file's DEK. kKeyUnavailable if there is no such key or the KMS can't be asked, kRevoked if
  /// its state forbids use, kCorrupt if the row was altered.
  Result<Dek> dek(FileId file, KeyVersion version, DekUse use = DekUse::kOrdinary);
  /// What is on record of one file, without its key. Errors as `dek`'s, whatever its state.
  Result<FileRecord> recorded(FileId file, KeyVersion version);
  /// Records what became of files, in one transaction. Of a record older than what stands there
  /// only a deactivation is kept; nothing changes a key that is no longer active, or an altered
  /// row.
  Result<void> record(std::span<const FileRecord> records);

  /// Brings one file's key into another state. Errors as set_scope_state's; kCorrupt if the row was
  /// altered.
  Result<void> set_key_state(DekId key, KeyState state);
  /// Makes the key of a deleted file active again, with this record: the file was put back, and is
  /// to stay. kNotFound if there is no such key, kRevoked if it is in any state but deactivated or
  /// active (what was compromised or destroyed stays so), kCorrupt if the row was altered,
  /// kRolledBack if the record is older than what stands there.
  Result<void> readmit(const FileRecord& record);

  /// Calls `visit` for each DEK row in order of file id (from `from` on), until it returns false;
  /// all rows are of one moment. Holds no lock: keys are released meanwhile, and `visit` may ask
  /// the Keyring.
  Result<void> visit_keys(const std::function<bool(const KeyRow&)>& visit, FileId from = {});
  Result<std::vector<KekRow>> keks();

  /// The keys of the store's audit logs. For as long as a log is open: it goes on when the KMS does
  /// not answer.
  Result<AuditSecrets> audit_secrets();
  /// What of audit logs is on record, of all nodes. kCorrupt if it is malformed.
  Result<std::vector<LogCheckpoint>> log_checkpoints();
  /// Puts it there, unless one of the same log stands there that is not smaller.
  Result<void> keep_checkpoint(const LogCheckpoint& checkpoint);
  /// The same with the next transaction that records something, for which nobody waits; the last
  /// one offered.
  void offer_checkpoint(const LogCheckpoint& checkpoint);
  /// kNotFound if none of that log is kept.
  Result<void> forget_log(LogId log);
  Result<void> set_audit_required(bool required);

  /// Takes up the master key that the keystore names now, if it is another one than ours, and asks
  /// the KMS anew for keys in use whose time is nearly over, so that nobody waits for it then.
  /// To be called now and then; takes as long as the KMS does.
  void refresh_keys();
  /// Drops every unwrapped key; the next use asks the KMS again.
  void forget_keys();
  /// The same, and keeps none until `unlock`: what needs one is kKeyUnavailable meanwhile.
  void lock();
  void unlock() { locked_ = false; }
  [[nodiscard]] bool locked() const { return locked_.load(); }

 private:
  friend class MasterKeys;

  struct PolicyKeys {
    SecretBytes mac;
    HmacKey records;
    SecretBytes paths;
    AuditSecrets audit;
  };
  struct KekId {
    ScopeId scope;
    KeyVersion version;
    bool operator==(const KekId&) const = default;
  };
  struct KekIdHash {
    std::size_t operator()(const KekId& id) const noexcept {
      return (std::size_t{id.scope.value} << 32U) ^ id.version.value;
    }
  };

  Keyring(std::string path, Database writer, Database reader, Access access, StoreId store,
          MasterKms& master, const Clock& clock, KeyLifetime lifetime, NewestSeen::Place seen,
          IfOlder if_older, Source source);

  Result<std::shared_ptr<const PolicyKeys>> policy_keys();
  /// The master key that wraps the store's keys now, which is ours, if need be from now on.
  Result<MasterKeyRecord> primary();
  /// Not authenticated.
  Result<MasterKeyRecord> recorded_primary();
  Result<void> follow(const MasterKeyRecord& record);
  Result<SecretBytes> unwrap_policy_key();
  /// What wraps a key in the place that is read from; `wrapped` is the primary's.
  Result<ByteVector> from_source(Database& database, const HmacKey* records,
                                 const KeyContext& context, ByteVector wrapped) const;
  /// Unwraps by the primary what `read` finds.
  Result<SecretBytes> unwrap_by_primary(const std::function<Result<ByteVector>()>& read,
                                        const KeyContext& context);
  /// kWrongKey unless it is the policy key that was met first.
  Result<void> check_policy_key(const SecretBytes& policy_key);
  /// An authenticated row. kKeyUnavailable if there is none.
  Result<StoredDek> stored_dek(FileId file, KeyVersion version);
  Result<PolicyKeys> ask_for_policy_keys();
  Result<std::shared_ptr<const SecretBytes>> kek(KekId id);
  Result<SecretBytes> ask_for_kek(KekId id);
  /// Keys that are ready to be kept, all of one scope.
  struct NewDeks {
    std::vector<Dek> deks;
    std::vector<KeyInPlace> placed;
    std::vector<ByteVector> wrapped;
    std::vector<ByteVector> macs;
    std::int64_t now = 0;
  };
  /// False, and nothing done, if the primary is not `wrapped_by` (null: no matter).
  Result<bool> insert_deks(const NewDeks& made, const MasterKeyRecord* wrapped_by);
  Result<void> copy_for_recovery(const NewDeks& made, const HmacKey& records) REQUIRES(mutex_);
  Result<ScopeRow> scope_row(ScopeId scope);
  Result<ScopeId> next_scope_id();
  /// Runs `read` in a transaction that has checked the policy MAC, so that what it reads of the
  /// policy tables is authentic, of one moment, and not older than what was seen.
  Result<void> read_verified(const std::function<Result<void>(Database&, const PolicyKeys&)>& read);
  /// Runs `change` in a transaction that checks the policy MAC before and renews it after. kInvalid
  /// if the policy could not be read again as `change` leaves it.
  /// The new generation is above `floor` too, and is the answer.
  Result<std::uint64_t> change_policy(const std::function<Result<void>(const PolicyKeys&)>& change,
                                      std::uint64_t floor = 0);
  /// Checks what a transaction has found: authentic, and not older than `newest`.
  Result<KeystoreState> check_state(Database& database, const PolicyKeys& keys,
                                    const std::optional<KeystoreState>& newest) const;
  /// Runs `change` in a transaction that checks the policy MAC before, and raises the generation if
  /// it says that it has changed a record.
  Result<void> change_records(const std::function<Result<bool>(const PolicyKeys&)>& change);
  /// What was offered, into a transaction that goes on anyway.
  Result<void> write_offered() REQUIRES(mutex_);
  Result<bool> record_rows(const PolicyKeys& keys, std::span<const FileRecord> records)
      REQUIRES(mutex_);
  Result<void> set_row_state(const PolicyKeys& keys, DekId key, KeyState state) REQUIRES(mutex_);
  Result<void> readmit_row(const PolicyKeys& keys, const FileRecord& record) REQUIRES(mutex_);
  /// The last of a transaction that changes policy or records.
  Result<KeystoreState> raise_generation(const PolicyKeys& keys, std::uint64_t floor = 0)
      REQUIRES(mutex_);
  /// Remembers what was read, once it is sure to be on the disk.
  void note_read(const KeystoreState& found, const std::optional<KeystoreState>& newest);
  /// BEGIN IMMEDIATE. While another process writes it waits without the lock.
  Result<Transaction> begin_write() REQUIRES(mutex_);
  [[nodiscard]] KeyContext context(KeyContext::Purpose purpose, ScopeId scope, KeyVersion wrapping,
                                   KeyVersion version) const;

  const std::string path_;
  const Access access_;
  const StoreId store_;
  MasterKms& master_;
  const Clock& clock_;
  const KeyLifetime lifetime_;
  const Source source_;
  dev_t device_ = 0;  // of the file that was opened; both 0 if it was not to be found out
  ino_t inode_ = 0;
  TakeUpMaster take_up_master_;
  NewestSeen seen_;
  const bool remembers_;
  std::atomic<bool> takes_older_;
  std::atomic<bool> locked_ = false;

  // Two connections, so that who opens a file never waits for a commit's disk flush. Neither lock
  // is taken under the other.
  Mutex mutex_;
  Database database_ GUARDED_BY(mutex_);
  std::optional<LogCheckpoint> offered_ GUARDED_BY(mutex_);
  Mutex read_mutex_;
  Database reader_ GUARDED_BY(read_mutex_);
  std::optional<Statement> select_dek_ GUARDED_BY(read_mutex_);
  std::optional<Digest> policy_key_digest_ GUARDED_BY(read_mutex_);

  KeyCache<std::monostate, PolicyKeys> policy_keys_;
  KeyCache<KekId, SecretBytes, KekIdHash> keks_;
};

}  // namespace coffer
