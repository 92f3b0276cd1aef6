#pragma once

#include "keystore/base/result.h"

namespace coffer {

/// The errno that a caller of the mount sees; the only place where errors become errnos.
///
/// | cause | errno |
/// |---|---|
/// | no grant | EACCES |
/// | key missing, KMS out of reach | ENOKEY |
/// | grant or key revoked, expired | EKEYREVOKED, EKEYEXPIRED |
/// | altered, moved, rolled back, wrong key for the file | EIO |
/// | any other failed system call | its own errno |
int to_errno(const Error& error);

/// What the log says beside the error: what to do about it. Empty where the caller's own errno says
/// all.
std::string_view advice(Code code);

}  // namespace coffer
