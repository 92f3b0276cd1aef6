#pragma once

#include "keystore/base/result.h"

namespace coffer {

/// Leaves all threads of the process, those to come included, the system calls that the daemon of a
/// mount makes. Of the others, those that only an intruder would make end the process; the rest
/// fail with ENOSYS, as if the kernel were older than the C library, which tries another way then.
/// Either leaves a line in the kernel's log. kUnsupported where the kernel has no filters.
/// To be called after `forbid_new_privileges`; can't be undone.
/// `network`: the master key is asked over the network, so that TCP and the resolver are left too.
Result<void> filter_system_calls(bool network);

}  // namespace coffer
