#pragma once

#include "keystore/cli/commands.h"

namespace coffer {

// The verbs of `coffer grant` that only look.
void add_grant_list_command(CLI::App& grant, ChosenCommand& chosen);
void add_grant_show_command(CLI::App& grant, ChosenCommand& chosen);

}  // namespace coffer
