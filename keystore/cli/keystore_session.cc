#include "keystore/cli/keystore_session.h"

#include <unistd.h>

#include "keystore/base/mutex.h"
#include "keystore/cli/exit_code.h"

namespace coffer {
namespace {

/// The database's messages say "keystore …" and can't know which it is.
Error with_path(Error error, const std::string& path) {
  constexpr std::string_view kWord = "keystore";
  if (error.context.starts_with(kWord) && error.context.find(path) == std::string::npos) {
    error.context.insert(kWord.size(), " " + path);
  }
  return error;
}

Result<std::unique_ptr<MasterKms>> open_master_of(const KeystorePeek& peek,
                                                  const KeystoreSession::Options& options) {
  const auto open = [&options](const MasterKeyRecord& record) {
    auto master = open_master(record, passphrase_source(options.passphrase, record.uri));
    if (options.passphrase.pin) options.passphrase.pin->forget();
    return master;
  };
  if (!options.by_recovery) return open(peek.master);
  if (!peek.recovery)
    return Error{Code::kKeyUnavailable, 0, "the store has no recovery master key"};
  const auto recovery = TRY(open(peek.recovery->master.record));
  return std::unique_ptr<MasterKms>(
      TRY(RecoveredKms::open(*recovery, *peek.recovery, peek.store, peek.master)));
}

/// Whether a token has refused a PIN that was found on the way to another master key.
struct PinsShown {
  Mutex mutex;
  bool refused GUARDED_BY(mutex) = false;
};

/// Tokens lock themselves after a few wrong PINs, and who writes to the keystore says which token
/// is next: it is shown none after the first that was wrong.
Result<std::unique_ptr<MasterKms>> open_next(const MasterKeyRecord& record, PinsShown& pins) {
  const auto open = [&record] {
    return open_master(record, [](bool) -> Result<SecretBytes> {
      return Error{Code::kKeyUnavailable, 0, "there is nobody to ask for a passphrase"};
    });
  };
  if (record.uri.find("pin-source=") == std::string::npos) return open();
  MutexLock lock(pins.mutex);
  if (pins.refused) {
    return Error{Code::kWrongKey, 0,
                 record.uri +
                     ": wrong PIN; set it right, and run: coffer lock MOUNTPOINT, coffer "
                     "unlock MOUNTPOINT"};
  }
  auto next = open();
  pins.refused = !next && next.error().code == Code::kWrongKey;
  return next;
}

/// Opens the master key that the store has moved to, where this process still can.
Result<void> follow(LockableKms& master, const std::string& begun_with, PinsShown& pins,
                    const MasterKeyRecord& record,
                    const std::function<Result<void>(MasterKms&)>& check) {
  if (!may_follow(begun_with, record.uri)) {
    return Error{
        Code::kKeyUnavailable, 0,
        "the store's master key is now " + record.uri +
            (may_ask(record.uri) ? "; run: coffer lock MOUNTPOINT, coffer unlock MOUNTPOINT"
                                 : ", which this daemon can't reach; mount it anew")};
  }
  auto next = TRY(open_next(record, pins));
  TRY(check(*next));
  return master.exchange(std::move(next));
}

}  // namespace

Result<KeystoreSession> KeystoreSession::open(const std::string& root, Keyring::Access access,
                                              const PassphraseOptions& passphrase) {
  Options options;
  options.access = access;
  options.passphrase = passphrase;
  return open(root, options);
}

Result<KeystoreSession> KeystoreSession::open(const std::string& root, const Options& options) {
  KeystoreSession session;
  session.config = TRY(read_store_config(root));
  session.clock = std::make_unique<Clock>();
  const std::string& path = session.config.keystore;
  auto peeked = Keyring::peek(path);
  if (!peeked) return with_path(std::move(peeked).error(), path);
  const KeystorePeek peek = std::move(*peeked);
  if (peek.store != session.config.store) {
    return Error{Code::kForeignKeystore, 0,
                 "keystore " + path + " belongs to store " + peek.store.hex() + ", not to " +
                     session.config.store.hex()};
  }
  session.master = std::make_unique<LockableKms>(TRY(open_master_of(peek, options)));
  auto keyring = Keyring::open(
      path, options.access, session.config.store, *session.master, *session.clock,
      options.key_lifetime,
      {.path = keystore_seen_path(session.config.store), .report = options.report},
      options.if_older, options.by_recovery ? Keyring::Source::kCopies : Keyring::Source::kPrimary);
  if (!keyring) return with_path(std::move(keyring).error(), path);
  session.keyring = std::move(*keyring);
  session.keyring->follow_master(
      [master = session.master.get(), begun_with = peek.master.uri,
       pins = std::make_shared<PinsShown>()](const MasterKeyRecord& record,
                                             const std::function<Result<void>(MasterKms&)>& check) {
        return follow(*master, begun_with, *pins, record, check);
      });
  AuditSecrets secrets = TRY(session.keyring->audit_secrets());
  session.audit =
      TRY(AuditLog::open(audit_log_path(session.config.store), session.config.store, *session.clock,
                         {.lines = std::move(secrets.lines), .seed = std::move(secrets.seed)}));
  session.checkpointer = std::make_unique<Checkpointer>(
      *session.audit, *session.keyring, *session.clock,
      options.report ? options.report : [](const Error& error) { (void)report_failure(error); });
  return session;
}

Result<void> KeystoreSession::take_up_master(const PassphraseSource& passphrase) const {
  // As it is on record now: the master key may have been rotated meanwhile.
  auto peeked = Keyring::peek(config.keystore);
  if (!peeked) return with_path(std::move(peeked).error(), config.keystore);
  master->take_up(TRY(open_master(peeked->master, passphrase)));
  return {};
}

Result<void> KeystoreSession::note(std::string_view scope, std::string_view detail) const {
  if (const auto policy = keyring->policy()) {
    audit->set_mode(policy->audit_required ? AuditMode::kRequired : AuditMode::kBestEffort);
  }
  AuditEvent event;
  event.event = "admin";
  event.scope = scope;
  event.uid = ::geteuid();
  event.gid = ::getegid();
  event.pid = ::getpid();
  event.detail = detail;
  return audit->append(event);
}

}  // namespace coffer
