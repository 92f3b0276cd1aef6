#pragma once

#include <string>
#include <string_view>

#include "keystore/base/result.h"

namespace coffer {

/// The exit code for a cause: part of the interface, documented in README, never renumbered.
int exit_code(Code code);

/// The next step to take, for stderr; empty if the message itself says it.
std::string_view next_step(Code code);

/// A failure in words, and what to do about it; empty if nothing is known.
struct Explained {
  std::string cause;
  std::string remedy;
};
Explained explain(const Error& error);

/// "coffer: MESSAGE; NEXT STEP" on stderr, one line. Returns the exit code.
int report_failure(const Error& error);

}  // namespace coffer
