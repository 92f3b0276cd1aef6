#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// Replaces the small file `path` whole: a temporary beside it, fsync, rename, fsync of the
/// directory. After a crash either the old or the new content is there. Nothing is left behind on
/// failure.
Result<void> replace_file(const std::string& path, Bytes content, mode_t mode);

/// Makes the file `path` with `content`, as durable as replace_file and as tidy on failure; kExists
/// if something is there already.
Result<void> create_file(const std::string& path, Bytes content, mode_t mode);

/// The whole of a small file; kInvalid if it is longer than `limit` bytes.
Result<ByteVector> read_small_file(const std::string& path, std::size_t limit);

/// fsync of the directory that holds `path`, so that a name just made or removed there is durable.
Result<void> sync_parent(const std::string& path);

/// mkdir -p; the directories made get `mode`, and their names are durable.
Result<void> make_directories(const std::string& path, mode_t mode);

/// write(2) and read(2) until all is done, EINTR and short counts included.
Result<void> write_all(int fd, Bytes content);
Result<std::size_t> read_up_to(int fd, MutableBytes buffer);

}  // namespace coffer
