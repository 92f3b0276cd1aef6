#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "keystore/audit/audit_log.h"
#include "keystore/base/clock.h"
#include "keystore/base/mutex.h"
#include "keystore/broker/policy.h"
#include "keystore/keyring/dek_pool.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// Who wants to do what, and where. `path` is the plaintext path in the store, for the audit log.
struct AccessRequest {
  ScopeId scope;
  const Identity& who;
  Rights rights;
  std::string_view path;
  /// If not null: told which grant let the caller in, when something is released.
  std::optional<GrantId>* let_in_by = nullptr;
};

/// What an open file was used for, when it is let go of.
struct FileUse {
  DekId key;
  std::optional<GrantId> grant;  ///< that it was opened by
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
};

/// The one door to keys: every release is decided by the grants, written to the audit log, and only
/// then made. If the line can't be written, the release is refused. Grants are read anew within a
/// second of any change by another process. Thread-safe.
class KeyBroker {
 public:
  /// Reads the policy and begins to watch it. All three outlive the broker.
  static Result<std::unique_ptr<KeyBroker>> create(Keyring& keyring, AuditLog& audit,
                                                   const Clock& clock);
  ~KeyBroker();
  KeyBroker(const KeyBroker&) = delete;
  KeyBroker& operator=(const KeyBroker&) = delete;

  /// The DEK of an existing file. kDenied, kRevoked or kExpired by decision; kMoved if the file
  /// belongs to another scope than it was found in; else as Keyring::dek. `use` stands in the
  /// log.
  Result<Dek> release(FileId file, KeyVersion version, const AccessRequest& request,
                      DekUse use = DekUse::kOrdinary);

  /// What is on record of a file's state; no key of it. For who has the file open, and so was
  /// decided about.
  Result<FileRecord> recorded(FileId file, KeyVersion version);

  /// A DEK for a file about to be made, with the file's id.
  Result<Dek> release_new(const AccessRequest& request);
  /// One that release_new gave and no file was made with.
  void take_back(Dek dek);

  enum class Lines { kAll, kRefusals };
  /// The secret that a scope's names are encrypted under. A lookup asks with kRefusals: an allowed
  /// one writes no line. One object as long as the secret stays the same and fresh, so that what
  /// was derived from it can be kept beside it.
  Result<std::shared_ptr<const SecretBytes>> release_names(const AccessRequest& request,
                                                           Lines lines);
  /// The same by what the request itself says of its caller, `request.who`, and without a line: if
  /// that is enough to be let in, and no grant denies it by what else may be true of it. Otherwise
  /// null: release_names decides, and says why not.
  std::shared_ptr<const SecretBytes> find_names(const AccessRequest& request);

  /// Decides and writes a line on refusal, without a key: for changes that need none.
  Result<void> check(const AccessRequest& request);

  /// Whether a right is granted, without a line: it is not what is asked for.
  bool is_granted(ScopeId scope, const Identity& who, Right right);

  /// What is in force is what the keystore says at this moment, not within a second. kCorrupt and
  /// kRolledBack as `policy`.
  Result<void> catch_up();

  /// Whether what was released for this request, this key if it was a file, may go on being used.
  /// If not, the error is what its use meets from now on (kRevoked or kExpired), and the log has a
  /// line. While the policy can't be read, what was released stays as it is. In an emergency no
  /// line is worth a key: one that can't be written changes nothing.
  std::optional<Error> withdrawn(const AccessRequest& request, const std::optional<DekId>& key);
  /// Writes the line that tells of the end of what was released for this request. How it was used
  /// is told of the rights it was opened with.
  Result<void> note_close(const AccessRequest& request, const FileUse& use);
  /// How often decisions may have changed so far. Something released is to be asked about again
  /// (`withdrawn`) when this differs from before it was decided.
  [[nodiscard]] std::uint64_t changes() const { return changes_.load(); }
  /// Has `changed` called after each such change, by the broker's thread; null ends that, and
  /// returns when no call is under way.
  void when_changed(std::function<void()> changed);

  /// The scopes and grants in force. kCorrupt if the keystore was altered since, kRolledBack if it
  /// was put back to an earlier state.
  Result<std::shared_ptr<const Policy>> policy();
  /// What those in force ask for of a caller beyond his request. No lock: for each request.
  [[nodiscard]] Sources sources() const {
    Sources asked{sources_.load(std::memory_order_relaxed)};
    if (learnt_from_until_.load(std::memory_order_relaxed) != 0) asked.add(asked_to_learn());
    return asked;
  }
  /// For a while more is asked, so that grants can be learnt from the log.
  void tell_more(std::chrono::seconds time);
  /// Reads them now, not within a second: after a change made by this very process.
  Result<void> reload();

  /// Drops every key, and asks for none until `unlock`: what needs one is refused with
  /// kKeyUnavailable, and what was released is the caller's to drop.
  void lock();
  /// Reads the policy again; stays locked if that fails.
  Result<void> unlock();
  /// For the record: what this request was given was withdrawn by a lock.
  void note_locked_out(const AccessRequest& request, const std::optional<DekId>& key);

  /// An admin verb or key operation, for the record.
  Result<void> note(std::string_view event, const Identity& who, std::string_view scope,
                    std::string_view detail);

 private:
  struct CachedNames {
    std::shared_ptr<const SecretBytes> secret;
    std::int64_t expires_at = 0;
  };

  KeyBroker(Keyring& keyring, AuditLog& audit, const Clock& clock);
  /// Decides; writes the line if it is a refusal, or an allow to be recorded.
  Result<Decision> decide(const AccessRequest& request, bool passing_through);
  [[nodiscard]] Decision decide_by(const Policy& policy, const AccessRequest& request,
                                   bool passing_through) const;
  Result<std::shared_ptr<const SecretBytes>> names_secret(ScopeId scope);
  Result<void> write_line(const AccessRequest& request, const Decision& decision,
                          std::optional<FileId> file, std::optional<KeyVersion> version,
                          std::string_view reason);
  Result<void> write_line(std::string_view what, const AccessRequest& request,
                          const Decision& decision, std::optional<FileId> file,
                          std::optional<KeyVersion> version, std::string_view reason);
  /// Writes the line, with what the request says in it.
  Result<void> append(AuditEvent event, const AccessRequest& request);
  /// Writes a line for a release that was allowed and then failed for want of the key, and passes
  /// the error on.
  Error refuse(const AccessRequest& request, Decision decision, std::optional<FileId> file,
               Error error);
  /// `seen` is the keystore's data version from before the policy was read.
  void watch_policy(std::int64_t seen);
  void refresh_keys();
  [[nodiscard]] Sources asked_to_learn() const;
  /// True once a grant has begun or ended since `looked_at`, or the clock was set back.
  [[nodiscard]] bool time_has_told(std::int64_t looked_at);
  void tell_of_change();

  Keyring& keyring_;
  AuditLog& audit_;
  const Clock& clock_;
  std::optional<DekPool> pool_;  // none on a read-only keystore

  SharedMutex policy_mutex_;
  std::shared_ptr<const Policy> policy_ GUARDED_BY(policy_mutex_);
  std::optional<Error> policy_error_ GUARDED_BY(policy_mutex_);
  std::atomic<std::uint16_t> sources_ = 0;  // policy_'s
  std::atomic<std::int64_t> learnt_from_until_ = 0;
  std::atomic<std::int64_t> caught_up_with_ = -1;  // what the keyring's read_version was

  Mutex names_mutex_;
  std::unordered_map<ScopeId, CachedNames> names_ GUARDED_BY(names_mutex_);

  std::atomic<std::uint64_t> changes_ = 0;
  Mutex telling_;  // held while `changed_` is called
  std::function<void()> changed_ GUARDED_BY(telling_);

  Mutex watch_mutex_;
  CondVar watch_changed_;
  bool stopping_ GUARDED_BY(watch_mutex_) = false;
  std::thread watcher_;
  std::thread refresher_;  // one of its own: it waits for the KMS
};

}  // namespace coffer
