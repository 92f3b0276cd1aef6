#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Who may be able to read a file that holds a credential. In a pod, everybody there can.
enum class Readers { kOwner, kAnybody };

/// What is in a file that holds a secret: its first `most` bytes, or all if there are fewer. It has
/// to be a regular file of ours or root's that nobody else can read. kKeyUnavailable, with the
/// remedy, if it is not; `what` is the words for it ("PIN file").
Result<SecretBytes> read_private_file(const std::string& what, const std::string& path,
                                      std::size_t most);
/// Likewise of a file that these may read.
Result<SecretBytes> read_secret_file(const std::string& what, const std::string& path,
                                     std::size_t most, Readers readers);

/// The first line of a file that holds a credential (a token, a secret id, a JWT): plain text
/// (is_plain_text), up to 16 KiB of it. kKeyUnavailable as read_private_file.
Result<SecretBytes> read_secret_line(const std::string& what, const std::string& path,
                                     Readers readers);
/// Likewise of `text`.
Result<SecretBytes> secret_line(const std::string& what, Bytes text);

/// The first line of a private file, 1 to 255 bytes: as read_private_file, of an absolute path or a
/// `file:` URI of one.
Result<SecretBytes> read_pin_file(std::string path);

}  // namespace coffer
