#pragma once

#include <string>

#include "keystore/base/result.h"

namespace coffer {

/// Unmounts by fusermount3, which may do so for the user who mounted. kBusy if it can't. To be
/// called where there are no other threads.
Result<void> run_fusermount(const std::string& mountpoint, bool lazy);

}  // namespace coffer
