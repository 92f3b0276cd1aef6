#include "keystore/broker/key_broker.h"

#include <chrono>

#include "keystore/kms/lockable_kms.h"

namespace coffer {
namespace {

/// Seconds between looks at keys that are soon to be asked for anew.
constexpr std::int64_t kLongestRefreshPause = 30;

constexpr auto kPolicyPoll = std::chrono::milliseconds(500);

std::optional<FileId> file_of(const std::optional<DekId>& key) {
  return key.has_value() ? std::optional(key->file) : std::nullopt;
}

std::optional<KeyVersion> version_of(const std::optional<DekId>& key) {
  return key.has_value() ? std::optional(key->version) : std::nullopt;
}

Error refusal(const AccessRequest& request, const Decision& decision) {
  int errno_value = EACCES;
  if (decision.code == Code::kRevoked) errno_value = EKEYREVOKED;
  if (decision.code == Code::kExpired) errno_value = EKEYEXPIRED;
  return {decision.code, errno_value,
          std::string(request.path) + ": " + std::string(decision.reason)};
}

}  // namespace

KeyBroker::KeyBroker(Keyring& keyring, AuditLog& audit, const Clock& clock)
    : keyring_(keyring), audit_(audit), clock_(clock) {}

Result<std::unique_ptr<KeyBroker>> KeyBroker::create(Keyring& keyring, AuditLog& audit,
                                                     const Clock& clock) {
  std::unique_ptr<KeyBroker> broker(new KeyBroker(keyring, audit, clock));
  // Asked before the policy is read: a change between the two is then seen as one.
  const std::int64_t version = TRY(keyring.data_version());
  TRY(broker->reload());
  if (keyring.writable()) broker->pool_.emplace(keyring);
  broker->watcher_ = std::thread([raw = broker.get(), version] { raw->watch_policy(version); });
  broker->refresher_ = std::thread([raw = broker.get()] { raw->refresh_keys(); });
  return broker;
}

KeyBroker::~KeyBroker() {
  {
    MutexLock lock(watch_mutex_);
    stopping_ = true;
  }
  watch_changed_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  if (refresher_.joinable()) refresher_.join();
}

Result<void> KeyBroker::reload() {
  const auto load = [&]() -> Result<Policy> {
    const PolicySnapshot snapshot = TRY(keyring_.policy());
    audit_.set_mode(snapshot.audit_required ? AuditMode::kRequired : AuditMode::kBestEffort);
    return Policy::from(snapshot);
  };
  auto loaded = load();
  WriteLock lock(policy_mutex_);
  if (!loaded) {
    policy_error_ = loaded.error();
    return std::move(loaded).error();
  }
  policy_error_.reset();
  // Of two reloads that ran side by side, the one that read first may come last.
  if (policy_ == nullptr || loaded->generation() >= policy_->generation()) {
    policy_ = std::make_shared<const Policy>(std::move(*loaded));
    sources_ = policy_->sources().bits;
  }
  ++changes_;
  return {};
}

Result<void> KeyBroker::catch_up() {
  // Asked before the policy is read: a change between the two is seen the next time.
  const std::int64_t version = TRY(keyring_.read_version());
  if (version == caught_up_with_) return {};
  TRY(reload());
  caught_up_with_ = version;
  return {};
}

Result<std::shared_ptr<const Policy>> KeyBroker::policy() {
  ReadLock lock(policy_mutex_);
  if (policy_error_.has_value()) return *policy_error_;
  return policy_;
}

void KeyBroker::lock() {
  keyring_.lock();
  if (pool_.has_value()) pool_->close();
  MutexLock lock(names_mutex_);
  names_.clear();
}

Result<void> KeyBroker::unlock() {
  keyring_.unlock();
  if (auto read = reload(); !read) {
    keyring_.lock();
    return read;
  }
  if (pool_.has_value()) pool_->open();
  return {};
}

void KeyBroker::watch_policy(std::int64_t seen) {
  std::int64_t looked_at = clock_.unix_seconds();
  std::uint64_t told = 0;
  while (true) {
    {
      MutexLock lock(watch_mutex_);
      if (!stopping_) watch_changed_.wait_for(watch_mutex_, kPolicyPoll);
      if (stopping_) return;
    }
    const auto version = keyring_.data_version();
    // A policy that could not be read is tried again until it can.
    // What changes while it is locked is read when it is unlocked.
    if (keyring_.locked()) continue;
    if (!version.ok() || *version != seen || !policy().ok() || !keyring_.in_place()) (void)reload();
    if (version.ok()) seen = *version;
    if (time_has_told(looked_at)) ++changes_;
    looked_at = clock_.unix_seconds();
    if (const std::uint64_t now = changes(); now != told) {
      told = now;
      tell_of_change();
    }
  }
}

void KeyBroker::refresh_keys() {
  const std::chrono::seconds pause(
      std::clamp<std::int64_t>(keyring_.lifetime().ttl_s / 16, 1, kLongestRefreshPause));
  while (true) {
    {
      MutexLock lock(watch_mutex_);
      if (!stopping_) watch_changed_.wait_for(watch_mutex_, pause);
      if (stopping_) return;
    }
    try {
      keyring_.refresh_keys();
    } catch (const std::bad_alloc&) {
      // No locked memory for another key now. Who needs it asks again, and is told.
    }
  }
}

bool KeyBroker::time_has_told(std::int64_t looked_at) {
  const std::int64_t now = clock_.unix_seconds();
  if (now < looked_at) return true;
  const auto current = policy();
  if (!current) return false;
  const auto next = (*current)->next_change(looked_at);
  return next.has_value() && *next <= now;
}

void KeyBroker::tell_more(std::chrono::seconds time) {
  learnt_from_until_ = clock_.unix_seconds() + time.count();
}

Sources KeyBroker::asked_to_learn() const {
  if (clock_.unix_seconds() >= learnt_from_until_) return {};
  return Sources::of(Source::kGroups, Source::kExecutable, Source::kCgroup, Source::kNamespaces);
}

void KeyBroker::tell_of_change() {
  MutexLock lock(telling_);
  if (changed_) changed_();
}

void KeyBroker::when_changed(std::function<void()> changed) {
  MutexLock lock(telling_);
  changed_ = std::move(changed);
}

Decision KeyBroker::decide_by(const Policy& policy, const AccessRequest& request,
                              bool passing_through) const {
  const std::int64_t now = clock_.unix_seconds();
  Decision decision = policy.decide(request.scope, request.who, request.rights, now);
  // Passing is no more than looking up a name: a change is decided by the directory's own scope.
  const bool only_list = request.rights.bits == static_cast<std::uint8_t>(Right::kList);
  if (!decision.allowed && passing_through && only_list &&
      policy.on_the_way(request.path, request.who, now)) {
    decision.allowed = true;
    decision.reason = "on the way to a granted scope";
  }
  return decision;
}

Result<Decision> KeyBroker::decide(const AccessRequest& request, bool passing_through) {
  const auto current = policy();
  if (!current) return refuse(request, Decision{}, std::nullopt, current.error());
  Decision decision = decide_by(**current, request, passing_through);
  if (keyring_.locked()) return refuse(request, decision, std::nullopt, keys_are_locked());
  if (decision.allowed) return decision;
  TRY(write_line(request, decision, std::nullopt, std::nullopt, decision.reason));
  return refusal(request, decision);
}

Result<Dek> KeyBroker::release(FileId file, KeyVersion version, const AccessRequest& request,
                               DekUse use) {
  const Decision decision = TRY(decide(request, false));
  auto dek = keyring_.dek(file, version, use);
  if (dek && dek->scope != request.scope) {
    dek = Error{Code::kMoved, 0,
                "file " + file.hex() + " belongs to another scope than the one it lies in"};
  }
  if (!dek) return refuse(request, decision, file, std::move(dek).error());
  if (request.let_in_by != nullptr) *request.let_in_by = decision.grant;
  std::string reason(decision.reason);
  if (use == DekUse::kRecovery) reason += ", for recovery";
  TRY(write_line(request, decision, file, version, reason));
  return dek;
}

std::optional<Error> KeyBroker::withdrawn(const AccessRequest& request,
                                          const std::optional<DekId>& key) {
  const auto current = policy();
  if (!current) return std::nullopt;
  Decision decision = decide_by(**current, request, false);
  if (decision.allowed && key.has_value()) {
    // Of a deleted file, whose key is deactivated, what is open stays open.
    const auto record = keyring_.recorded(key->file, key->version);
    decision.allowed =
        !record || is_usable(record->state) || record->state == KeyState::kDeactivated;
    if (!decision.allowed) decision.reason = "the file's key is suspended, or was revoked";
  }
  if (decision.allowed) return std::nullopt;
  // Whoever had it and is now simply without a grant, or denied, has had it revoked.
  if (decision.code != Code::kExpired) decision.code = Code::kRevoked;
  (void)write_line("withdraw", request, decision, file_of(key), version_of(key), decision.reason);
  return refusal(request, decision);
}

void KeyBroker::note_locked_out(const AccessRequest& request, const std::optional<DekId>& key) {
  (void)write_line("withdraw", request, Decision{}, file_of(key), version_of(key),
                   "the mount was locked");
}

Result<FileRecord> KeyBroker::recorded(FileId file, KeyVersion version) {
  return keyring_.recorded(file, version);
}

Result<Dek> KeyBroker::release_new(const AccessRequest& request) {
  const Decision decision = TRY(decide(request, false));
  if (!pool_.has_value()) {
    return refuse(request, decision, std::nullopt,
                  Error{Code::kReadOnly, EROFS, "the keystore was opened read-only"});
  }
  auto dek = pool_->take(request.scope);
  if (!dek) return refuse(request, decision, std::nullopt, std::move(dek).error());
  if (request.let_in_by != nullptr) *request.let_in_by = decision.grant;
  auto written = write_line(request, decision, dek->file, dek->version, decision.reason);
  if (!written) {
    pool_->put_back(std::move(*dek));
    return std::move(written).error();
  }
  return dek;
}

void KeyBroker::take_back(Dek dek) {
  if (pool_.has_value()) pool_->put_back(std::move(dek));
}

Result<std::shared_ptr<const SecretBytes>> KeyBroker::release_names(const AccessRequest& request,
                                                                    Lines lines) {
  const Decision decision = TRY(decide(request, lines == Lines::kRefusals));
  auto secret = names_secret(request.scope);
  if (!secret) return refuse(request, decision, std::nullopt, std::move(secret).error());
  if (lines == Lines::kAll) {
    TRY(write_line(request, decision, std::nullopt, std::nullopt, decision.reason));
  }
  return secret;
}

std::shared_ptr<const SecretBytes> KeyBroker::find_names(const AccessRequest& request) {
  const auto current = policy();
  if (!current || keyring_.locked() || !decide_by(**current, request, true).allowed) return nullptr;
  auto secret = names_secret(request.scope);
  return secret ? *secret : nullptr;
}

Result<std::shared_ptr<const SecretBytes>> KeyBroker::names_secret(ScopeId scope) {
  const std::int64_t now = clock_.unix_seconds();
  const std::int64_t ttl = keyring_.lifetime().ttl_s;
  {
    MutexLock lock(names_mutex_);
    const auto cached = names_.find(scope);
    // A clock set back makes a secret stale, as it does a KEK.
    if (cached != names_.end() && now < cached->second.expires_at &&
        cached->second.expires_at - now <= ttl) {
      return cached->second.secret;
    }
  }
  SecretBytes secret = TRY(keyring_.scope_secret(scope));
  MutexLock lock(names_mutex_);
  if (keyring_.locked()) return keys_are_locked();
  CachedNames& cached = names_[scope];
  cached.expires_at = now + ttl;
  if (cached.secret == nullptr || !constant_time_equal(cached.secret->expose(), secret.expose())) {
    cached.secret = std::make_shared<const SecretBytes>(std::move(secret));
  }
  return cached.secret;
}

Result<void> KeyBroker::check(const AccessRequest& request) {
  TRY(decide(request, false));
  return {};
}

bool KeyBroker::is_granted(ScopeId scope, const Identity& who, Right right) {
  const auto current = policy();
  return current &&
         (*current)->decide(scope, who, Rights::of(right), clock_.unix_seconds()).allowed;
}

Result<void> KeyBroker::write_line(const AccessRequest& request, const Decision& decision,
                                   std::optional<FileId> file, std::optional<KeyVersion> version,
                                   std::string_view reason) {
  return write_line(decision.allowed ? "release" : "refuse", request, decision, file, version,
                    reason);
}

Result<void> KeyBroker::write_line(std::string_view what, const AccessRequest& request,
                                   const Decision& decision, std::optional<FileId> file,
                                   std::optional<KeyVersion> version, std::string_view reason) {
  AuditEvent event;
  event.event = what;
  event.decision = decision.allowed ? "allow" : "deny";
  event.file = file;
  event.grant = decision.grant;
  event.key_version = version;
  event.reason = reason;
  return append(std::move(event), request);
}

Result<void> KeyBroker::note_close(const AccessRequest& request, const FileUse& use) {
  AuditEvent event;
  event.event = "close";
  event.file = use.key.file;
  event.grant = use.grant;
  event.key_version = use.key.version;
  if (request.rights.contains(Right::kRead)) event.bytes_read = use.bytes_read;
  if (request.rights.contains(Right::kWrite)) event.bytes_written = use.bytes_written;
  return append(std::move(event), request);
}

Result<void> KeyBroker::append(AuditEvent event, const AccessRequest& request) {
  const auto current = policy();
  const ScopeRow* const scope = current ? (*current)->scope(request.scope) : nullptr;
  const std::string rights = to_string(request.rights);
  event.right = rights;
  if (scope != nullptr) event.scope = scope->path;
  event.path = request.path;
  event.uid = request.who.uid;
  event.gid = request.who.gid;
  event.pid = request.who.pid;
  for (const Selector& selector : request.who.selectors) event.selectors.push_back(selector.text());
  for (const Selector& selector : request.who.past) event.selectors.push_back(selector.text());
  return audit_.append(event);
}

Error KeyBroker::refuse(const AccessRequest& request, Decision decision, std::optional<FileId> file,
                        Error error) {
  decision.allowed = false;
  if (auto written = write_line(request, decision, file, std::nullopt, error.message()); !written) {
    return std::move(written).error();
  }
  // The caller hears one errno for one cause; the system's own stays in the words.
  error.context = std::string(request.path) + ": " + error.message();
  if (no_key(error.code)) error.errno_value = ENOKEY;
  if (error.code == Code::kRevoked) error.errno_value = EKEYREVOKED;
  return error;
}

Result<void> KeyBroker::note(std::string_view event_name, const Identity& who,
                             std::string_view scope, std::string_view detail) {
  AuditEvent event;
  event.event = event_name;
  event.scope = scope;
  event.uid = who.uid;
  event.gid = who.gid;
  event.pid = who.pid;
  event.detail = detail;
  return audit_.append(event);
}

}  // namespace coffer
