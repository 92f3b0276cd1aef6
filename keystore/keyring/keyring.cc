#include "keystore/keyring/keyring.h"

#include <unistd.h>

#include <algorithm>

#include "keystore/crypto/box.h"
#include "keystore/crypto/kdf.h"
#include "keystore/keyring/policy_rows.h"
#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::size_t kKeySize = 32;

ByteVector u64_bytes(std::uint64_t value) { return ByteWriter().le(value).take(); }

Result<std::uint64_t> read_u64_meta(Database& database, std::string_view name) {
  const ByteVector value = TRY(read_meta(database, name));
  if (value.size() != 8)
    return Error{Code::kCorrupt, 0, "keystore: malformed " + std::string(name)};
  return load_le<std::uint64_t>(value, 0);
}

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
  return hkdf_sha256(policy_key.expose(), store.view(), info, kKeySize);
}

Result<void> renew_policy_mac(Database& database, Bytes mac_key) {
  const Digest mac = TRY(policy_mac(database, mac_key));
  return write_meta(database, "policy_mac", mac);
}

/// The rows of a new scope: its first KEK wrapped by the master key, its secret wrapped by that
/// KEK.
struct NewScope {
  ByteVector wrapped_kek;
  ByteVector wrapped_secret;
};

Result<NewScope> make_scope_keys(StoreId store, ScopeId scope, MasterKms& master) {
  constexpr KeyVersion kFirst{1};
  const SecretBytes kek = SecretBytes::random(kKeySize);
  const SecretBytes secret = SecretBytes::random(kKeySize);
  NewScope made;
  made.wrapped_kek = TRY(master.wrap(kek, KeyContext{.purpose = KeyContext::Purpose::kKek,
                                                     .store = store,
                                                     .scope = scope,
                                                     .wrapping_kek = {},
                                                     .file = {},
                                                     .version = kFirst}));
  made.wrapped_secret = seal_box(kek.expose(),
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

Keyring::Keyring(Database database, Access access, StoreId store, MasterKms& master,
                 const Clock& clock, std::int64_t key_ttl_s)
    : access_(access),
      store_(store),
      master_(master),
      clock_(clock),
      key_ttl_s_(key_ttl_s),
      database_(std::move(database)) {}

Result<void> Keyring::create(const CreateOptions& options, MasterKms& master, const Clock& clock) {
  const auto fill = [&](Database& database) -> Result<void> {
    const SecretBytes policy_key = SecretBytes::random(kKeySize);
    const SecretBytes mac_key = derive(policy_key, options.store, "coffer/1/policy");
    const SecretBytes path_key = derive(policy_key, options.store, "coffer/1/paths");
    const ByteVector wrapped =
        TRY(master.wrap(policy_key, KeyContext{.purpose = KeyContext::Purpose::kPolicyKey,
                                               .store = options.store,
                                               .scope = {},
                                               .wrapping_kek = {},
                                               .file = {},
                                               .version = KeyVersion{1}}));
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
    TRY(renew_policy_mac(database, mac_key.expose()));
    return transaction.commit();
  };

  Result<void> filled;
  {
    Database database = TRY(Database::open(options.path, Database::Mode::kCreate));
    filled = fill(database);
  }
  if (!filled) {
    for (const char* suffix : {"", "-wal", "-shm"}) ::unlink((options.path + suffix).c_str());
  }
  return filled;
}

Result<KeystorePeek> Keyring::peek(const std::string& path) {
  Database database = TRY(open_existing(path, Database::Mode::kReadOnly));
  KeystorePeek peek;
  peek.store = TRY(read_store_id(database));
  peek.master = TRY(select_active_master(database));
  return peek;
}

Result<std::unique_ptr<Keyring>> Keyring::open(const std::string& path, Access access,
                                               StoreId store, MasterKms& master, const Clock& clock,
                                               std::int64_t key_ttl_s) {
  Database database = TRY(open_existing(
      path, access == Access::kReadOnly ? Database::Mode::kReadOnly : Database::Mode::kReadWrite));
  if (const StoreId found = TRY(read_store_id(database)); found != store) {
    return Error{
        Code::kForeignKeystore, 0,
        "keystore " + path + " belongs to store " + found.hex() + ", not to " + store.hex()};
  }
  std::unique_ptr<Keyring> keyring(
      new Keyring(std::move(database), access, store, master, clock, key_ttl_s));
  TRY(keyring->policy());
  return keyring;
}

Result<std::int64_t> Keyring::data_version() {
  MutexLock lock(mutex_);
  return database_.data_version();
}

Result<std::shared_ptr<const Keyring::PolicyKeys>> Keyring::policy_keys() {
  const std::int64_t now = clock_.unix_seconds();
  {
    MutexLock lock(cache_mutex_);
    if (policy_keys_ != nullptr && now < policy_keys_->expires_at) return policy_keys_;
    policy_keys_.reset();
  }
  ByteVector wrapped;
  {
    MutexLock lock(mutex_);
    wrapped = TRY(read_meta(database_, "policy_key"));
  }
  const SecretBytes policy_key = TRY(master_.unwrap(
      wrapped, context(KeyContext::Purpose::kPolicyKey, ScopeId{}, KeyVersion{}, KeyVersion{1})));
  auto keys = std::make_shared<const PolicyKeys>(
      PolicyKeys{.mac = derive(policy_key, store_, "coffer/1/policy"),
                 .records = HmacKey(derive(policy_key, store_, "coffer/1/records").expose()),
                 .paths = derive(policy_key, store_, "coffer/1/paths"),
                 .expires_at = now + key_ttl_s_});
  MutexLock lock(cache_mutex_);
  policy_keys_ = keys;
  return policy_keys_;
}

Result<void> Keyring::verify_policy(const PolicyKeys& keys) {
  const Digest expected = TRY(policy_mac(database_, keys.mac.expose()));
  const ByteVector stored = TRY(read_meta(database_, "policy_mac"));
  if (!constant_time_equal(expected, stored)) {
    return Error{Code::kCorrupt, 0,
                 "keystore: scopes or grants were altered outside coffer; restore the keystore "
                 "from a backup"};
  }
  return {};
}

Result<PolicySnapshot> Keyring::read_policy(const PolicyKeys& keys) {
  TRY(verify_policy(keys));
  PolicySnapshot snapshot;
  snapshot.generation = TRY(read_u64_meta(database_, "generation"));
  const ByteVector names = TRY(read_meta(database_, "names"));
  snapshot.names = TRY(names_mode_from_name(as_text(names)));
  snapshot.scopes = TRY(select_scopes(database_, keys.paths, store_));
  snapshot.grants = TRY(select_grants(database_));
  return snapshot;
}

Result<PolicySnapshot> Keyring::policy() {
  const auto keys = TRY(policy_keys());
  MutexLock lock(mutex_);
  // One read transaction, so that the MAC and the rows are of the same moment.
  TRY(database_.execute("BEGIN;"));
  auto snapshot = read_policy(*keys);
  const auto ended = database_.execute("COMMIT;");
  if (!ended) (void)database_.execute("ROLLBACK;");
  return snapshot;
}

Result<void> Keyring::change_policy(const std::function<Result<void>(const PolicyKeys&)>& change) {
  const auto keys = TRY(policy_keys());
  MutexLock lock(mutex_);
  Transaction transaction = TRY(Transaction::begin(database_));
  TRY(verify_policy(*keys));
  TRY(change(*keys));
  const std::uint64_t generation = TRY(read_u64_meta(database_, "generation"));
  TRY(write_meta(database_, "generation", u64_bytes(generation + 1)));
  TRY(renew_policy_mac(database_, keys->mac.expose()));
  return transaction.commit();
}

Result<ScopeId> Keyring::add_scope(const std::string& path, DirId root_dir,
                                   const ScopeSettings& settings) {
  const PolicySnapshot before = TRY(policy());
  ScopeId id{1};
  for (const ScopeRow& scope : before.scopes) {
    if (scope.path == path)
      return Error{Code::kExists, EEXIST, "there is a scope " + path + " already"};
    id = std::max(id, ScopeId{scope.id.value + 1});
  }
  const NewScope keys = TRY(make_scope_keys(store_, id, master_));
  const std::int64_t now = clock_.unix_seconds();
  TRY(change_policy([&](const PolicyKeys& policy_keys) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    // If another process made a scope meanwhile, the id is taken and the insert fails: nothing is
    // half done.
    TRY(insert_scope(database_,
                     ScopeRow{.id = id,
                              .path = path,
                              .root_dir = root_dir,
                              .settings = settings,
                              .state = KeyState::kActive,
                              .kek_version = KeyVersion{1},
                              .created_at = now},
                     seal_scope_path(policy_keys.paths, store_, id, path), keys.wrapped_secret));
    return insert_kek(database_, id, KeyVersion{1}, keys.wrapped_kek, now);
  }));
  return id;
}

Result<GrantId> Keyring::add_grant(const GrantRow& grant) {
  GrantRow row = grant;
  row.created_at = clock_.unix_seconds();
  GrantId id;
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    id = TRY(insert_grant(database_, row));
    return {};
  }));
  return id;
}

Result<void> Keyring::revoke_grant(GrantId id) {
  const std::int64_t now = clock_.unix_seconds();
  return change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    return mark_grant_revoked(database_, id, now);
  });
}

Result<std::vector<KekRow>> Keyring::keks() {
  TRY(policy());
  MutexLock lock(mutex_);
  return select_keks(database_);
}

void Keyring::forget_keys() {
  MutexLock lock(cache_mutex_);
  policy_keys_.reset();
  keks_.clear();
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
