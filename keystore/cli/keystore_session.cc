#include "keystore/cli/keystore_session.h"

#include <unistd.h>

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

/// Opens the master key that the store has moved to, where this process still can.
Result<void> follow(LockableKms& master, const std::string& begun_with,
                    const MasterKeyRecord& record,
                    const std::function<Result<void>(MasterKms&)>& check) {
  if (!may_follow(begun_with, record.uri)) {
    return Error{
        Code::kKeyUnavailable, 0,
        "the store's master key is now " + record.uri +
            (may_ask(record.uri) ? "; run: coffer lock MOUNTPOINT, coffer unlock MOUNTPOINT"
                                 : ", which this daemon can't reach; mount it anew")};
  }
  auto next = TRY(open_master(record, [](bool) -> Result<SecretBytes> {
    return Error{Code::kKeyUnavailable, 0, "there is nobody to ask for a passphrase"};
  }));
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
      [master = session.master.get(), begun_with = peek.master.uri](
          const MasterKeyRecord& record, const std::function<Result<void>(MasterKms&)>& check) {
        return follow(*master, begun_with, record, check);
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
