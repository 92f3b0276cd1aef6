#pragma once

#include <vector>

#include "keystore/db/database.h"
#include "keystore/keyring/rows.h"

namespace coffer {

// What the keystore keeps of audit logs: rows of `meta` (keystore/AUDIT.md). Each runs within the
// caller's transaction.

/// True with a row changed; false if one that is not smaller stands there.
Result<bool> write_log_checkpoint(Database& database, const LogCheckpoint& checkpoint);
/// kCorrupt if a row is malformed.
Result<std::vector<LogCheckpoint>> select_log_checkpoints(Database& database);
/// False if there is none.
Result<bool> delete_log_checkpoint(Database& database, LogId log);

/// True unless the store is in the mode `best-effort`. kCorrupt for a mode that is not known: it is
/// then not safe to go on without lines.
Result<bool> read_audit_required(Database& database);
Result<void> write_audit_required(Database& database, bool required);

}  // namespace coffer
