#pragma once

#include "mount-tools/verifier.h"

namespace coffer {

/// Does about the findings and notes of a whole run what can be done without inventing data, as
/// whoever runs it, and says at each what it did (`repaired`). Each act is decided and on the audit
/// log before it is done. Nothing is destroyed in which anything authenticates but the journals of
/// files that are gone: entries are only ever moved to the quarantine, and of them those alone of
/// which nothing can be read. The store is open for writing. A failure is one that would meet every
/// other act as well.
Result<void> repair(OpenStore& store, VerifyReport& report);

}  // namespace coffer
