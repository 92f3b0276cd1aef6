#pragma once

#include "keystore/cli/commands.h"

namespace coffer {

// The verbs that need more than the keystore. Each adds itself to the program's, and sets `chosen`
// when the command line names it.
void add_init_command(CLI::App& app, ChosenCommand& chosen);
void add_mount_command(CLI::App& app, ChosenCommand& chosen);
void add_umount_command(CLI::App& app, ChosenCommand& chosen);
void add_lock_commands(CLI::App& app, ChosenCommand& chosen);
void add_status_command(CLI::App& app, ChosenCommand& chosen);
void add_import_command(CLI::App& app, ChosenCommand& chosen);
void add_export_command(CLI::App& app, ChosenCommand& chosen);
void add_verify_command(CLI::App& app, ChosenCommand& chosen);
void add_salvage_command(CLI::App& app, ChosenCommand& chosen);
void add_accept_command(CLI::App& app, ChosenCommand& chosen);
void add_path_command(CLI::App& app, ChosenCommand& chosen);
void add_grant_explain_command(CLI::App& grant, ChosenCommand& chosen);
void add_grant_learn_command(CLI::App& grant, ChosenCommand& chosen);
void add_scope_create_command(CLI::App& scope, ChosenCommand& chosen);
void add_key_show_command(CLI::App& key, ChosenCommand& chosen);
void add_key_state_commands(CLI::App& key, ChosenCommand& chosen);

}  // namespace coffer
