#pragma once

#include <functional>

#include "fs/content/encrypted_file.h"
#include "mount-tools/progress.h"

namespace coffer {

/// Reads a file from its beginning to its end, and gives to `take` every stretch that
/// authenticates, in order; holes are left out. What does not is in the result. An error is
/// `take`'s.
Result<Losses> read_sound(EncryptedFile& content, Progress& progress,
                          const std::function<Result<void>(std::uint64_t offset, Bytes)>& take,
                          EncryptedFile::Vouching vouching = EncryptedFile::Vouching::kByTree);

}  // namespace coffer
