#pragma once

#include <optional>
#include <string>

#include "fs/backing/backing_dir.h"
#include "fs/names/scope_names.h"

namespace coffer {

// Names, symlinks and directory records where they meet the backing directory. All thread-safe; two
// changes of one entry at once are for the caller to keep apart.

inline constexpr const char* kDirectoryRecordName = ".coffer.dir";

/// Writes a sidecar that an entry is about to need; nothing to do if there is none. It is on the
/// disk then: an entry without its sidecar has lost its name.
Result<void> put_sidecar(const BackingDir& dir, const StoredText& stored);
/// Removes the sidecar of an entry that is gone, once the directory, and so the entry's end, is on
/// the disk. A failure leaves garbage behind and is no error.
void drop_sidecar(const BackingDir& dir, const StoredText& stored);

/// The plaintext name of a directory entry, its sidecar read where it has one. Nothing for the
/// format's own files and for entries that do not authenticate in this directory.
Result<std::optional<std::string>> read_entry_name(const BackingDir& dir, const ScopeNames& names,
                                                   DirId dir_id, std::string_view stored);

/// The target of the symlink `stored`. kMoved if it is not bound to (dir_id, name).
Result<std::string> read_target(const BackingDir& dir, const ScopeNames& names, DirId dir_id,
                                std::string_view name, const std::string& stored);
/// Length of its target, for stat: `status` is the link's own.
Result<std::uint64_t> read_target_length(const BackingDir& dir, const std::string& stored,
                                         const struct stat& status);
/// The same of the sidecar that a removed symlink of this stored target had.
void drop_target_sidecar(const BackingDir& dir, const std::string& stored_target);

/// The directory's record as it lies there. kCorrupt if it is missing or of a wrong length.
Result<ByteVector> read_directory_block(const BackingDir& dir);
/// The same, authenticated by the names of its scope.
Result<DirectoryRecord> read_directory_record(const BackingDir& dir, const ScopeNames& names);
Result<void> write_directory_block(const BackingDir& dir, const DirectoryBlock& block);

}  // namespace coffer
