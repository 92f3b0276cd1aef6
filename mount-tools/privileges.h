#pragma once

#include <span>
#include <string>

#include "keystore/base/result.h"

namespace coffer {

/// Keeps, of the capabilities that this process has, those in `kept` (CAP_CHOWN, …); neither it nor
/// what it starts gets others again. To be called where there are no other threads: each has its
/// own.
Result<void> give_up_privileges(std::span<const int> kept);

/// Whether the process may use it now.
bool has_capability(int capability);

/// What is left: "chown,dac_override", or "none".
std::string capability_names();

/// Nothing that this thread, and those it starts from now on, execute gives them privileges: no
/// set-user-ID program, and no file with capabilities.
Result<void> forbid_new_privileges();
bool new_privileges_are_forbidden();

}  // namespace coffer
