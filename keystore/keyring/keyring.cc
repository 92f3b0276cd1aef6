#include "keystore/keyring/keyring.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "keystore/crypto/box.h"
#include "keystore/crypto/kdf.h"
#include "keystore/keyring/master_rows.h"
#include "keystore/keyring/policy_rows.h"
#include "keystore/keyring/schema.h"
#include "keystore/keyring/scope_flags.h"
#include "keystore/kms/lockable_kms.h"

namespace coffer {
namespace {

constexpr int kScopeIdAttempts = 16;
constexpr auto kWriteWait = std::chrono::seconds(10);  // keystore/FORMAT.md, "Processes"
constexpr auto kWriteRetry = std::chrono::milliseconds(2);

ByteVector u64_bytes(std::uint64_t value) { return ByteWriter().le(value).take(); }

Result<StoreId> read_store_id(Database& database) {
  const ByteVector value = TRY(read_meta(database, "store_id"));
  if (value.size() != 16) return Error{Code::kCorrupt, 0, "keystore: malformed store id"};
  return StoreId::from(value);
}

Result<Database> open_existing(const std::string& path, Database::Mode mode) {
  auto database = Database::open(path, mode);
  if (!database && database.error().code == Code::kNotFound) {
    return Error{
        Code::kKeystoreMissing, 0,
        "keystore " + path + " is not there; restore it from a backup, or mount the disk it is on"};
  }
  if (database) TRY(check_schema(*database));
  return database;
}

SecretBytes derive(const SecretBytes& policy_key, StoreId store, std::string_view info) {
  return hkdf_sha256(policy_key.expose(), store.view(), info, kWrappedKeySize);
}

/// A read transaction: what is read within it is of one moment. Nothing is written, so it just
/// ends.
class ReadTransaction {
 public:
  static Result<ReadTransaction> begin(Database& database) {
    TRY(database.execute("BEGIN;"));
    return ReadTransaction(database);
  }
  ReadTransaction(ReadTransaction&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)) {}
  ReadTransaction(const ReadTransaction&) = delete;
  ReadTransaction& operator=(const ReadTransaction&) = delete;
  ReadTransaction& operator=(ReadTransaction&&) = delete;
  ~ReadTransaction() {
    if (database_ != nullptr) (void)database_->execute("ROLLBACK;");
  }

 private:
  explicit ReadTransaction(Database& database) : database_(&database) {}
  Database* database_;
};

/// The files of a database that is being made; removed unless they are to be kept.
class UnfinishedFiles {
 public:
  explicit UnfinishedFiles(std::string path) : path_(std::move(path)) {}
  UnfinishedFiles(const UnfinishedFiles&) = delete;
  UnfinishedFiles& operator=(const UnfinishedFiles&) = delete;
  ~UnfinishedFiles() {
    if (!remove_) return;
    for (const char* suffix : {"", "-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
  }
  void made() { remove_ = true; }
  void keep() { remove_ = false; }

 private:
  std::string path_;
  bool remove_ = false;
};

/// The rows of a new scope: its first KEK wrapped by the master key, its secret wrapped by that
/// KEK.
struct NewScope {
  SecretBytes kek;
  KeyContext kek_context;
  ByteVector wrapped_kek;
  ByteVector wrapped_secret;
};

Result<NewScope> make_scope_keys(StoreId store, ScopeId scope, MasterKms& master) {
  constexpr KeyVersion kFirst{1};
  const SecretBytes secret = SecretBytes::random(kWrappedKeySize);
  NewScope made{.kek = SecretBytes::random(kWrappedKeySize),
                .kek_context = {.purpose = KeyContext::Purpose::kKek,
                                .store = store,
                                .scope = scope,
                                .wrapping_kek = {},
                                .file = {},
                                .version = kFirst},
                .wrapped_kek = {},
                .wrapped_secret = {}};
  made.wrapped_kek = TRY(master.wrap(made.kek, made.kek_context));
  made.wrapped_secret = seal_box(made.kek.expose(),
                                 KeyContext{.purpose = KeyContext::Purpose::kScopeSecret,
                                            .store = store,
                                            .scope = scope,
                                            .wrapping_kek = kFirst,
                                            .file = {},
                                            .version = kFirst}
                                     .encode(),
                                 secret.expose());
  return made;
}

}  // namespace

Keyring::Keyring(std::string path, Database writer, Database reader, Access access, StoreId store,
                 MasterKms& master, const Clock& clock, KeyLifetime lifetime,
                 NewestSeen::Place seen, IfOlder if_older, Source source)
    : path_(std::move(path)),
      access_(access),
      store_(store),
      master_(master),
      clock_(clock),
      lifetime_(lifetime),
      source_(source),
      seen_(seen, store),
      remembers_(!seen.path.empty()),
      takes_older_(if_older == IfOlder::kTake),
      database_(std::move(writer)),
      reader_(std::move(reader)),
      policy_keys_(clock, lifetime),
      keks_(clock, lifetime) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return;
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

Result<void> Keyring::create(const CreateOptions& options, MasterKms& master, const Clock& clock) {
  TRY(check_grant(options.first_grant));
  const auto fill = [&](Database& database) -> Result<void> {
    const SecretBytes policy_key = SecretBytes::random(kWrappedKeySize);
    const SecretBytes mac_key = derive(policy_key, options.store, "coffer/1/policy");
    const SecretBytes path_key = derive(policy_key, options.store, "coffer/1/paths");
    const ByteVector wrapped =
        TRY(master.wrap(policy_key, KeyContext::of_policy_key(options.store)));
    const NewScope keys = TRY(make_scope_keys(options.store, kRootScope, master));
    const std::int64_t now = clock.unix_seconds();

    Transaction transaction = TRY(Transaction::begin(database));
    TRY(create_schema(database));
    TRY(write_meta(database, "store_id", options.store.view()));
    TRY(write_meta(database, "names", as_bytes(to_string(options.names))));
    TRY(write_meta(database, "generation", u64_bytes(1)));
    TRY(write_meta(database, "policy_key", wrapped));
    TRY(write_meta(database, "created_at", u64_bytes(static_cast<std::uint64_t>(now))));
    TRY(insert_master(database, master.describe(), now));
    TRY(insert_scope(database,
                     ScopeRow{.id = kRootScope,
                              .path = "/",
                              .root_dir = options.root_dir,
                              .settings = options.root_scope,
                              .state = KeyState::kActive,
                              .kek_version = KeyVersion{1},
                              .created_at = now},
                     seal_scope_path(path_key, options.store, kRootScope, "/"),
                     keys.wrapped_secret));
    TRY(insert_kek(database, kRootScope, KeyVersion{1}, keys.wrapped_kek, now));
    GrantRow grant = options.first_grant;
    grant.scope = kRootScope;
    grant.created_at = now;
    TRY(insert_grant(database, grant));
    TRY(check_readable(database, path_key, options.store));
    TRY(write_state(database, 1, mac_key.expose()));
    return transaction.commit();
  };

  UnfinishedFiles files(options.path);  // outlives the connection
  Database database = TRY(Database::open(options.path, Database::Mode::kCreate));
  files.made();
  TRY(fill(database));
  files.keep();
  return {};
}

Result<KeystorePeek> Keyring::peek(const std::string& path) {
  Database database = TRY(open_existing(path, Database::Mode::kReadOnly));
  KeystorePeek peek;
  peek.store = TRY(read_store_id(database));
  peek.master = TRY(select_active_master(database));
  peek.policy_key = TRY(read_meta(database, "policy_key"));
  peek.recovery = TRY(select_recovery(database));
  return peek;
}

Result<std::unique_ptr<Keyring>> Keyring::open(const std::string& path, Access access,
                                               StoreId store, MasterKms& master, const Clock& clock,
                                               KeyLifetime lifetime, NewestSeen::Place seen,
                                               IfOlder if_older, Source source) {
  Database writer = TRY(open_existing(
      path, access == Access::kReadOnly ? Database::Mode::kReadOnly : Database::Mode::kReadWrite));
  if (const StoreId found = TRY(read_store_id(writer)); found != store) {
    return Error{
        Code::kForeignKeystore, 0,
        "keystore " + path + " belongs to store " + found.hex() + ", not to " + store.hex()};
  }
  Database reader = TRY(open_existing(path, Database::Mode::kReadOnly));
  std::unique_ptr<Keyring> keyring(new Keyring(path, std::move(writer), std::move(reader), access,
                                               store, master, clock, lifetime, std::move(seen),
                                               if_older, source));
  TRY(keyring->policy());
  return keyring;
}

Result<std::int64_t> Keyring::data_version() {
  MutexLock lock(mutex_);
  return database_.data_version();
}

Result<std::int64_t> Keyring::read_version() {
  MutexLock lock(read_mutex_);
  return reader_.data_version();
}

Result<std::shared_ptr<const Keyring::PolicyKeys>> Keyring::policy_keys() {
  if (locked()) return keys_are_locked();
  return policy_keys_.get({}, [this](std::monostate) { return ask_for_policy_keys(); });
}

Result<Keyring::PolicyKeys> Keyring::ask_for_policy_keys() {
  const SecretBytes policy_key = TRY(unwrap_policy_key());
  return PolicyKeys{.mac = derive(policy_key, store_, "coffer/1/policy"),
                    .records = HmacKey(derive(policy_key, store_, "coffer/1/records").expose()),
                    .paths = derive(policy_key, store_, "coffer/1/paths"),
                    .audit = {.lines = derive(policy_key, store_, "coffer/1/audit-lines"),
                              .seed = derive(policy_key, store_, "coffer/1/audit")}};
}

Result<void> Keyring::read_verified(
    const std::function<Result<void>(Database&, const PolicyKeys&)>& read) {
  TRY(in_place());
  const auto keys = TRY(policy_keys());
  const auto newest = seen_.newest();
  KeystoreState found;
  {
    MutexLock lock(read_mutex_);
    const ReadTransaction moment = TRY(ReadTransaction::begin(reader_));
    found = TRY(check_state(reader_, *keys, newest));
    TRY(read(reader_, *keys));
  }
  note_read(found, newest);
  return {};
}

Result<PolicySnapshot> Keyring::policy() {
  PolicySnapshot snapshot;
  TRY(read_verified([&](Database& database, const PolicyKeys& keys) -> Result<void> {
    snapshot = TRY(select_policy(database, keys.paths, store_));
    return {};
  }));
  return snapshot;
}

Result<Transaction> Keyring::begin_write() {
  TRY(in_place());
  const auto deadline = std::chrono::steady_clock::now() + kWriteWait;
  while (true) {
    TRY(database_.execute("PRAGMA busy_timeout = 0;"));
    auto transaction = Transaction::begin(database_);
    TRY(database_.execute("PRAGMA busy_timeout = 10000;"));
    if (transaction || transaction.error().code != Code::kBusy ||
        std::chrono::steady_clock::now() >= deadline) {
      return transaction;
    }
    mutex_.unlock();
    std::this_thread::sleep_for(kWriteRetry);
    mutex_.lock();
  }
}

Result<ScopeId> Keyring::next_scope_id() {
  MutexLock lock(read_mutex_);
  return coffer::next_scope_id(reader_);
}

Result<ScopeId> Keyring::add_scope(const std::string& path, DirId root_dir,
                                   const ScopeSettings& settings) {
  // The KEK is wrapped under the scope's id before the transaction (no lock while the KMS is
  // asked); if another process has taken the id meanwhile, the next one is tried.
  for (int attempt = 0; attempt < kScopeIdAttempts; ++attempt) {
    const PolicySnapshot before = TRY(policy());
    for (const ScopeRow& scope : before.scopes) {
      if (scope.path == path)
        return Error{Code::kExists, EEXIST, "there is a scope " + path + " already"};
    }
    const ScopeId id = TRY(next_scope_id());
    const MasterKeyRecord wrapped_by = TRY(primary());
    const NewScope keys = TRY(make_scope_keys(store_, id, master_));
    const std::int64_t now = clock_.unix_seconds();
    bool again = false;
    auto added =
        change_policy([&](const PolicyKeys& policy_keys) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
          again = TRY(scope_exists(database_, id)) ||
                  TRY(select_active_master(database_)) != wrapped_by;
          if (again) return Error{Code::kBusy, 0, "another process is making scopes; try again"};
          TRY(insert_scope(database_,
                           ScopeRow{.id = id,
                                    .path = path,
                                    .root_dir = root_dir,
                                    .settings = settings,
                                    .state = KeyState::kActive,
                                    .kek_version = KeyVersion{1},
                                    .created_at = now},
                           seal_scope_path(policy_keys.paths, store_, id, path),
                           keys.wrapped_secret));
          TRY(write_scope_flags(database_, id, settings.flags));
          if (const auto recovery = TRY(select_recovery(database_))) {
            TRY(write_copy(database_, recovery->master.id, keys.kek_context,
                           TRY(seal_copy(recovery->public_key, keys.kek_context, keys.kek))));
          }
          return insert_kek(database_, id, KeyVersion{1}, keys.wrapped_kek, now);
        });
    if (added) return id;
    if (!again) return std::move(added).error();
  }
  return Error{Code::kBusy, 0, "other processes keep making scopes; try again"};
}

Result<void> Keyring::remove_scope(ScopeId scope) {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    return delete_unused_scope(database_, scope);
  }));
  return {};
}

Result<GrantId> Keyring::add_grant(const GrantRow& grant) {
  TRY(check_grant(grant));
  GrantRow row = grant;
  row.created_at = clock_.unix_seconds();
  GrantId id;
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (!TRY(scope_exists(database_, row.scope))) {
      return Error{Code::kNotFound, 0, "there is no scope " + std::to_string(row.scope.value)};
    }
    id = TRY(insert_grant(database_, row));
    return {};
  }));
  return id;
}

Result<void> Keyring::revoke_grant(GrantId id) {
  const std::int64_t now = clock_.unix_seconds();
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    return mark_grant_revoked(database_, id, now);
  }));
  return {};
}

Result<void> Keyring::set_scope_state(ScopeId scope, KeyState state) {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    return update_scope_state(database_, scope, state);
  }));
  return {};
}

Result<void> Keyring::set_scope_flags(ScopeId scope, ScopeFlags flags) {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (!TRY(scope_exists(database_, scope)))
      return Error{Code::kNotFound, 0, "there is no such scope"};
    return write_scope_flags(database_, scope, flags);
  }));
  return {};
}

Result<void> Keyring::allow_xattrs() {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    constexpr std::uint8_t kYes = 1;
    return write_meta(database_, "xattrs", {&kYes, 1});
  }));
  return {};
}

Result<std::vector<KekRow>> Keyring::keks() {
  std::vector<KekRow> rows;
  TRY(read_verified([&](Database& database, const PolicyKeys&) -> Result<void> {
    rows = TRY(select_keks(database));
    return {};
  }));
  return rows;
}

void Keyring::refresh_keys() {
  if (locked()) return;
  (void)primary();
  policy_keys_.refresh([this](std::monostate) { return ask_for_policy_keys(); });
  keks_.refresh([this](const KekId& id) { return ask_for_kek(id); });
}

void Keyring::forget_keys() {
  policy_keys_.forget();
  keks_.forget();
}

void Keyring::lock() {
  locked_ = true;
  // After that: who looked before keeps nothing.
  forget_keys();
}

KeyContext Keyring::context(KeyContext::Purpose purpose, ScopeId scope, KeyVersion wrapping,
                            KeyVersion version) const {
  return KeyContext{.purpose = purpose,
                    .store = store_,
                    .scope = scope,
                    .wrapping_kek = wrapping,
                    .file = {},
                    .version = version};
}

}  // namespace coffer
