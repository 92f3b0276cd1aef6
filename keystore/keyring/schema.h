#pragma once

#include "keystore/base/ids.h"
#include "keystore/base/result.h"
#include "keystore/crypto/digest.h"
#include "keystore/db/database.h"

namespace coffer {

/// The tables of keystore/FORMAT.md. Runs inside the caller's transaction.
Result<void> create_schema(Database& database);

/// kCorrupt if the database is not a keystore, kUnknownVersion if it is of a newer program.
Result<void> check_schema(Database& database);

/// The MAC over the policy tables (keystore/FORMAT.md, "Policy MAC"); reads within the caller's
/// transaction.
Result<Digest> policy_mac(Database& database, Bytes mac_key);

/// A value of table `meta`; kCorrupt if it is missing.
Result<ByteVector> read_meta(Database& database, std::string_view name);
/// The same of one that need not be there.
Result<bool> has_meta(Database& database, std::string_view name);
Result<void> write_meta(Database& database, std::string_view name, Bytes value);

}  // namespace coffer
