#pragma once

#include <string>

#include "fs/vfs/vfs.h"
#include "mount-tools/transfer.h"

namespace coffer {

/// Copies the tree or file `source` to `path` in the store, in parallel. What is there with the
/// same size and modification time is left alone, and a large file that an earlier run was killed
/// in is carried on: so the same command run again finishes the work. A failure of one file is
/// reported through `progress` and the rest goes on, unless there is no more room or right to
/// write.
TransferCounts import_tree(Vfs& vfs, const Caller& caller, const std::string& source,
                           const std::string& path, Progress& progress);

}  // namespace coffer
