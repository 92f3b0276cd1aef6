#pragma once

#include "keystore/base/result.h"

namespace coffer {

/// The exit code for a cause: part of the interface, documented in README, never renumbered.
int exit_code(Code code);

/// The next step to take, for stderr; empty if the message itself says it.
std::string_view next_step(Code code);

/// "coffer: MESSAGE; NEXT STEP" on stderr, one line. Returns the exit code.
int report_failure(const Error& error);

}  // namespace coffer
