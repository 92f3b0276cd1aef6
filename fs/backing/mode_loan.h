#pragma once

#include <sys/stat.h>

#include <functional>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// How a file is reached while bits of its mode are lent: by its name, or by a descriptor.
struct ModeLoan {
  std::function<Result<struct stat>()> status;
  std::function<Result<void>(mode_t)> set_mode;
  std::function<UniqueFd()> open;  ///< invalid and errno on failure
};

/// Opens a regular file of ours whose mode forbids it to its owner. The mode is the plaintext
/// file's, checked by the kernel for the caller; it must not bind us. It gets the `needed` bits for
/// the moment of opening. EACCES if they would not help. One loan at a time in the whole process: a
/// second would take the bits of the first for the file's own and leave them to it. Thread-safe.
Result<UniqueFd> open_on_loan(const ModeLoan& file, mode_t needed);

}  // namespace coffer
