#include "keystore/keyring/policy_rows.h"

#include <algorithm>
#include <array>
#include <map>

#include "keystore/crypto/box.h"
#include "keystore/crypto/random.h"
#include "keystore/keyring/audit_rows.h"
#include "keystore/keyring/schema.h"
#include "keystore/keyring/scope_flags.h"

namespace coffer {
namespace {

Error malformed(std::string_view what) {
  return {Code::kCorrupt, 0, "keystore: malformed " + std::string(what)};
}

/// AAD of a sealed path (keystore/FORMAT.md, "Keys and wrapping").
std::array<std::uint8_t, 36> path_context(StoreId store, ScopeId scope) {
  std::array<std::uint8_t, 36> out{};
  const Bytes label = as_bytes("coffer/1/pth");
  std::copy(label.begin(), label.end(), out.begin());
  std::copy(store.bytes.begin(), store.bytes.end(), out.begin() + 16);
  store_le(out, 32, scope.value);
  return out;
}

/// Within [low, high], or kCorrupt: the policy is authentic by now, but a newer program may have
/// written it.
Result<std::int64_t> bounded(std::int64_t value, std::int64_t low, std::int64_t high,
                             std::string_view what) {
  if (value < low || value > high) return malformed(what);
  return value;
}

Result<ScopeRow> scope_from(const Query& row, const SecretBytes& path_key, StoreId store) {
  ScopeRow scope;
  scope.id = ScopeId{
      static_cast<std::uint32_t>(TRY(bounded(row.integer(0), 1, 0xffffffffLL, "scope id")))};
  const SecretBytes path =
      TRY(open_box(path_key.expose(), path_context(store, scope.id), row.blob(1)));
  scope.path = std::string(as_text(path.expose()));
  if (row.blob(2).size() != 16) return malformed("root directory id");
  scope.root_dir = DirId::from(row.blob(2));
  scope.settings.sensitivity =
      static_cast<Sensitivity>(TRY(bounded(row.integer(3), 0, 3, "sensitivity")));
  scope.settings.suite = TRY(
      suite_from_number(static_cast<std::uint16_t>(TRY(bounded(row.integer(4), 1, 2, "suite")))));
  scope.settings.chunk_log2 =
      static_cast<unsigned>(TRY(bounded(row.integer(5), 12, 20, "chunk size")));
  scope.settings.wrap = static_cast<Wrap>(TRY(bounded(row.integer(6), 1, 2, "wrap")));
  scope.settings.retention_s = TRY(bounded(row.integer(7), 0, INT64_MAX, "retention"));
  scope.state = static_cast<KeyState>(TRY(bounded(row.integer(8), 1, 6, "scope state")));
  scope.created_at = row.integer(9);
  scope.kek_version = KeyVersion{
      static_cast<std::uint32_t>(TRY(bounded(row.integer(10), 0, 0xffffffffLL, "KEK version")))};
  return scope;
}

}  // namespace

Result<std::uint64_t> read_generation(Database& database) {
  const ByteVector value = TRY(read_meta(database, "generation"));
  if (value.size() != 8) return malformed("generation");
  return load_le<std::uint64_t>(value, 0);
}

Result<KeystoreState> write_state(Database& database, std::uint64_t generation, Bytes mac_key) {
  std::array<std::uint8_t, 16> moment{};
  random_bytes(moment);
  TRY(write_meta(database, "generation", ByteWriter().le(generation).take()));
  TRY(write_meta(database, "moment", moment));
  const Digest mac = TRY(policy_mac(database, mac_key));
  TRY(write_meta(database, "policy_mac", mac));
  return KeystoreState{.generation = generation, .mark = sha256(mac)};
}

Result<KeystoreState> verify_state(Database& database, Bytes mac_key) {
  const Digest expected = TRY(policy_mac(database, mac_key));
  const ByteVector stored = TRY(read_meta(database, "policy_mac"));
  if (!constant_time_equal(expected, stored)) {
    return Error{Code::kCorrupt, 0,
                 "keystore: scopes or grants were altered outside coffer; restore the keystore "
                 "from a backup"};
  }
  return KeystoreState{.generation = TRY(read_generation(database)), .mark = sha256(stored)};
}

Result<PolicySnapshot> select_policy(Database& database, const SecretBytes& path_key,
                                     StoreId store) {
  PolicySnapshot snapshot;
  snapshot.generation = TRY(read_generation(database));
  const ByteVector names = TRY(read_meta(database, "names"));
  snapshot.names = TRY(names_mode_from_name(as_text(names)));
  snapshot.xattrs = TRY(has_meta(database, "xattrs"));
  snapshot.audit_required = TRY(read_audit_required(database));
  snapshot.scopes = TRY(select_scopes(database, path_key, store));
  TRY(read_scope_flags(database, snapshot.scopes));
  snapshot.grants = TRY(select_grants(database));
  return snapshot;
}

Result<void> check_readable(Database& database, const SecretBytes& path_key, StoreId store) {
  const auto written = select_policy(database, path_key, store);
  if (written) return {};
  return Error{Code::kInvalid, written.error().errno_value, written.error().context};
}

Result<void> check_grant(const GrantRow& grant) {
  if (grant.rights < 1 || grant.rights > 7) {
    return Error{Code::kInvalid, 0, "a grant names rights of list, read and write"};
  }
  if (grant.everyone != grant.selectors.empty()) {
    return Error{Code::kInvalid, 0, "a grant is to selectors or to everyone, and not to both"};
  }
  return {};
}

ByteVector seal_scope_path(const SecretBytes& path_key, StoreId store, ScopeId scope,
                           std::string_view path) {
  return seal_box(path_key.expose(), path_context(store, scope), as_bytes(path));
}

Result<void> insert_scope(Database& database, const ScopeRow& scope, Bytes sealed_path,
                          Bytes wrapped_secret) {
  Statement statement =
      TRY(database.prepare("INSERT INTO scopes (id, path, root_dir_id, sensitivity, suite, "
                           "chunk_log2, wrap, retention_s, state,"
                           " secret, secret_kek, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "
                           "?8, ?9, ?10, ?11, ?12);"));
  return statement
      .start(scope.id.value, sealed_path, scope.root_dir.view(),
             static_cast<int>(scope.settings.sensitivity), static_cast<int>(scope.settings.suite),
             scope.settings.chunk_log2, static_cast<int>(scope.settings.wrap),
             scope.settings.retention_s, static_cast<int>(scope.state), wrapped_secret,
             scope.kek_version.value, scope.created_at)
      .run();
}

Result<ScopeId> next_scope_id(Database& database) {
  Statement statement =
      TRY(database.prepare("SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = "
                           "'scopes'), 0), coalesce((SELECT max(id) FROM scopes), 0)) + 1;"));
  Query query = statement.start();
  if (!TRY(query.next())) return malformed("scope id");
  return ScopeId{
      static_cast<std::uint32_t>(TRY(bounded(query.integer(0), 1, 0xffffffffLL, "scope id")))};
}

Result<bool> scope_exists(Database& database, ScopeId scope) {
  Statement statement = TRY(database.prepare("SELECT 1 FROM scopes WHERE id = ?1;"));
  Query query = statement.start(scope.value);
  return query.next();
}

Result<std::vector<ScopeRow>> select_scopes(Database& database, const SecretBytes& path_key,
                                            StoreId store) {
  Statement statement =
      TRY(database.prepare("SELECT id, path, root_dir_id, sensitivity, suite, chunk_log2, wrap, "
                           "retention_s, state, created_at,"
                           " (SELECT max(version) FROM keks WHERE scope_id = scopes.id AND state = "
                           "2) FROM scopes ORDER BY id;"));
  Query query = statement.start();
  std::vector<ScopeRow> scopes;
  while (TRY(query.next())) scopes.push_back(TRY(scope_from(query, path_key, store)));
  return scopes;
}

Result<void> delete_unused_scope(Database& database, ScopeId scope) {
  if (!TRY(scope_exists(database, scope))) {
    return Error{Code::kNotFound, 0, "there is no scope " + std::to_string(scope.value)};
  }
  Statement find =
      TRY(database.prepare("SELECT EXISTS (SELECT 1 FROM deks WHERE scope_id = ?1) OR"
                           " EXISTS (SELECT 1 FROM grants WHERE scope_id = ?1);"));
  {
    Query row = find.start(scope.value);
    if (!TRY(row.next()) || row.integer(0) != 0) {
      return Error{Code::kExists, 0, "the scope is in use"};
    }
  }
  TRY(write_scope_flags(database, scope, {}));
  Statement keks = TRY(database.prepare("DELETE FROM keks WHERE scope_id = ?1;"));
  TRY(keks.start(scope.value).run());
  Statement copies = TRY(database.prepare("DELETE FROM meta WHERE name GLOB ?1;"));
  TRY(copies.start("copy:*:kek:" + std::to_string(scope.value) + ":*").run());
  Statement scopes = TRY(database.prepare("DELETE FROM scopes WHERE id = ?1;"));
  return scopes.start(scope.value).run();
}

Result<void> insert_kek(Database& database, ScopeId scope, KeyVersion version, Bytes wrapped,
                        std::int64_t now) {
  Statement statement = TRY(database.prepare(
      "INSERT INTO keks (scope_id, version, state, master_id, wrapped, created_at)"
      " VALUES (?1, ?2, ?3, (SELECT max(id) FROM masters WHERE state = 2), ?4, ?5);"));
  return statement
      .start(scope.value, version.value, static_cast<int>(KeyState::kActive), wrapped, now)
      .run();
}

Result<std::vector<KekRow>> select_keks(Database& database) {
  Statement statement = TRY(database.prepare(
      "SELECT scope_id, version, state, created_at FROM keks ORDER BY scope_id, version;"));
  Query query = statement.start();
  std::vector<KekRow> keks;
  while (TRY(query.next())) {
    keks.push_back({ScopeId{static_cast<std::uint32_t>(query.integer(0))},
                    KeyVersion{static_cast<std::uint32_t>(query.integer(1))},
                    static_cast<KeyState>(query.integer(2)), query.integer(3)});
  }
  return keks;
}

Result<GrantId> insert_grant(Database& database, const GrantRow& grant) {
  Statement insert =
      TRY(database.prepare("INSERT INTO grants (scope_id, deny, rights, everyone, not_before, "
                           "not_after, purpose, created_by, created_at)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id;"));
  GrantId id;
  {
    Query query =
        insert.start(grant.scope.value, grant.deny, grant.rights, grant.everyone, grant.not_before,
                     grant.not_after, grant.purpose, grant.created_by, grant.created_at);
    if (!TRY(query.next())) return Error{Code::kIo, 0, "keystore: a grant got no id"};
    id = GrantId{query.integer(0)};
    TRY(query.run());
  }
  Statement add =
      TRY(database.prepare("INSERT INTO grant_selectors (grant_id, selector) VALUES (?1, ?2);"));
  for (const std::string& selector : grant.selectors) TRY(add.start(id.value, selector).run());
  return id;
}

Result<std::vector<GrantRow>> select_grants(Database& database) {
  Statement statement =
      TRY(database.prepare("SELECT id, scope_id, deny, rights, everyone, not_before, not_after, "
                           "purpose, created_by, created_at,"
                           " revoked_at FROM grants ORDER BY id;"));
  std::vector<GrantRow> grants;
  std::map<std::int64_t, std::size_t> position;
  {
    Query row = statement.start();
    while (TRY(row.next())) {
      GrantRow grant;
      grant.id = GrantId{row.integer(0)};
      grant.scope = ScopeId{static_cast<std::uint32_t>(row.integer(1))};
      grant.deny = row.integer(2) != 0;
      grant.rights = static_cast<std::uint8_t>(TRY(bounded(row.integer(3), 1, 7, "rights")));
      grant.everyone = row.integer(4) != 0;
      grant.not_before = row.optional_integer(5);
      grant.not_after = row.optional_integer(6);
      grant.purpose = std::string(row.text(7));
      grant.created_by = std::string(row.text(8));
      grant.created_at = row.integer(9);
      grant.revoked_at = row.optional_integer(10);
      position[grant.id.value] = grants.size();
      grants.push_back(std::move(grant));
    }
  }
  Statement selectors = TRY(database.prepare(
      "SELECT grant_id, selector FROM grant_selectors ORDER BY grant_id, selector;"));
  Query row = selectors.start();
  while (TRY(row.next())) {
    const auto found = position.find(row.integer(0));
    if (found == position.end()) return malformed("grant selector");
    grants[found->second].selectors.emplace_back(row.text(1));
  }
  return grants;
}

Result<void> check_transition(KeyState from, KeyState to, const std::string& what) {
  if (from == to) {
    return Error{Code::kExists, 0, what + " is " + std::string(to_string(to)) + " already"};
  }
  if (may_become(from, to)) return {};
  return Error{Code::kInvalid, 0,
               what + " is " + std::string(to_string(from)) + ", and can't become " +
                   std::string(to_string(to))};
}

Result<void> update_scope_state(Database& database, ScopeId scope, KeyState state) {
  Statement find = TRY(database.prepare("SELECT state FROM scopes WHERE id = ?1;"));
  {
    Query row = find.start(scope.value);
    if (!TRY(row.next())) return Error{Code::kNotFound, 0, "there is no such scope"};
    TRY(check_transition(static_cast<KeyState>(row.integer(0)), state, "the scope"));
  }
  Statement update = TRY(database.prepare("UPDATE scopes SET state = ?2 WHERE id = ?1;"));
  return update.start(scope.value, static_cast<int>(state)).run();
}

Result<void> mark_grant_revoked(Database& database, GrantId id, std::int64_t now) {
  Statement find = TRY(database.prepare("SELECT revoked_at FROM grants WHERE id = ?1;"));
  {
    Query row = find.start(id.value);
    if (!TRY(row.next()))
      return Error{Code::kNotFound, 0, "there is no grant " + std::to_string(id.value)};
    if (row.type(0) != Query::Type::kNull) {
      return Error{Code::kExists, 0, "grant " + std::to_string(id.value) + " was revoked already"};
    }
  }
  Statement update = TRY(database.prepare("UPDATE grants SET revoked_at = ?2 WHERE id = ?1;"));
  return update.start(id.value, now).run();
}

}  // namespace coffer
