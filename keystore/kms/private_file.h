#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// What is in a file that holds a secret: its first `most` bytes, or all if there are fewer. It has
/// to be a regular file of ours or root's that nobody else can read. kKeyUnavailable, with the
/// remedy, if it is not; `what` is the words for it ("PIN file").
Result<SecretBytes> read_private_file(const std::string& what, const std::string& path,
                                      std::size_t most);

/// The first line of a private file, 1 to 255 bytes: as read_private_file, of an absolute path or a
/// `file:` URI of one.
Result<SecretBytes> read_pin_file(std::string path);

}  // namespace coffer
