#pragma once

#include <sys/types.h>

#include "fs/identity/identity_resolver.h"
#include "keystore/base/result.h"

namespace coffer {

/// The caller that a mount would see if this process used it: with the uid and gid that it has for
/// files. kNotFound if there is no such process.
Result<Caller> caller_of(pid_t pid);

}  // namespace coffer
