#pragma once

#include <vector>

#include "keystore/db/database.h"
#include "keystore/keyring/rows.h"

namespace coffer {

// The rows `scope:ID` of `meta` (keystore/FORMAT.md, "Tables"), within the caller's transaction.

/// Notes the flags of a scope that is there. Without any there is no row.
Result<void> write_scope_flags(Database& database, ScopeId scope, ScopeFlags flags);
/// Fills in those of all scopes. kCorrupt if a row is malformed or of no scope, kUnknownVersion if
/// it has a flag that this program does not know.
Result<void> read_scope_flags(Database& database, std::vector<ScopeRow>& scopes);

}  // namespace coffer
