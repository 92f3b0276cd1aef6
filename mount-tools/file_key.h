#pragma once

#include <string>

#include "fs/vfs/vfs.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// The file at a path from /, by what its header says. Where the file can be opened that is
/// authentic; a file whose key is suspended or revoked is found as well.
Result<FileId> file_at(Vfs& vfs, const std::string& path);

/// A file id that was given in the place of a path: 32 hex digits.
Result<FileId> file_id_from(const std::string& given);

/// kNotFound if the keystore has no key of the file.
Result<KeyRow> newest_key(Keyring& keyring, FileId file);

}  // namespace coffer
