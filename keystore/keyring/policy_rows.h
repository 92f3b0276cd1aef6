#pragma once

#include <string_view>
#include <vector>

#include "keystore/db/database.h"
#include "keystore/keyring/newest_seen.h"
#include "keystore/keyring/rows.h"

namespace coffer {

// The SQL of the policy tables (keystore/FORMAT.md, "Tables"). Each runs within the caller's
// transaction; when to check and renew the policy MAC is the Keyring's.

Result<std::uint64_t> read_generation(Database& database);
/// kCorrupt unless the policy MAC holds.
Result<KeystoreState> verify_state(Database& database, Bytes mac_key);
/// Gives the state that the transaction leaves its generation and moment, and renews the MAC.
Result<KeystoreState> write_state(Database& database, std::uint64_t generation, Bytes mac_key);
Result<PolicySnapshot> select_policy(Database& database, const SecretBytes& path_key,
                                     StoreId store);
/// What has just been written can be read again; else it would lock everyone out (kInvalid).
Result<void> check_readable(Database& database, const SecretBytes& path_key, StoreId store);

/// A grant that would mean something else than it says, or could not be read again, is refused
/// before it is written (kInvalid).
Result<void> check_grant(const GrantRow& grant);

ByteVector seal_scope_path(const SecretBytes& path_key, StoreId store, ScopeId scope,
                           std::string_view path);
Result<void> insert_scope(Database& database, const ScopeRow& scope, Bytes sealed_path,
                          Bytes wrapped_secret);
/// One above every id that a scope has ever had: caches of other processes know KEKs and secrets by
/// it, and so do wrapped keys.
Result<ScopeId> next_scope_id(Database& database);
Result<bool> scope_exists(Database& database, ScopeId scope);
Result<std::vector<ScopeRow>> select_scopes(Database& database, const SecretBytes& path_key,
                                            StoreId store);

/// kNotFound if there is no such scope; else as check_transition.
Result<void> update_scope_state(Database& database, ScopeId scope, KeyState state);
/// kExists if it is in that state already, kInvalid if that can't be. `what` says whose state it
/// is.
Result<void> check_transition(KeyState from, KeyState to, const std::string& what);

/// kNotFound if there is none, kExists if any file's key, or a grant, belongs to it.
Result<void> delete_unused_scope(Database& database, ScopeId scope);

Result<void> insert_kek(Database& database, ScopeId scope, KeyVersion version, Bytes wrapped,
                        std::int64_t now);
Result<std::vector<KekRow>> select_keks(Database& database);

Result<GrantId> insert_grant(Database& database, const GrantRow& grant);
Result<std::vector<GrantRow>> select_grants(Database& database);
Result<void> mark_grant_revoked(Database& database, GrantId id, std::int64_t now);

}  // namespace coffer
