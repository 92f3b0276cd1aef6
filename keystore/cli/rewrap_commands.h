#pragma once

#include "keystore/cli/commands.h"

namespace coffer {

/// `coffer kms list`, `rewrap` and `recovery`.
void add_rewrap_commands(CLI::App& kms, ChosenCommand& chosen);

}  // namespace coffer
