#pragma once

// Private to fs/fuse: the locks of fcntl(2) and flock(2), which the kernel leaves to the
// filesystem.

#include "fs/fuse/operations.h"

namespace coffer {

void add_lock_operations(fuse_lowlevel_ops& operations);

/// If the request just received is the release of a file, the locks that were taken through it go.
/// For whoever receives requests, before the next is received: close(2) does not wait for the
/// release, but what comes after it finds the locks gone.
void end_locks(const fuse_buf& request, FileLocks& locks) noexcept;

}  // namespace coffer
