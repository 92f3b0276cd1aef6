#pragma once

#include <functional>
#include <memory>
#include <string>

#include "keystore/base/result.h"
#include "keystore/cli/passphrase.h"
#include "keystore/keyring/rows.h"

namespace CLI {
class App;
}

namespace coffer {

/// The verb that the command line names, set by its parser.
struct ChosenCommand {
  std::function<Result<int>()> run;     ///< gives the exit code of a run that is no failure
  std::shared_ptr<EnvironmentPin> pin;  ///< for the verbs that open a keystore; null: none is set
};

/// `--passphrase-file`, `--passphrase-fd`, for every verb that opens a keystore.
void add_passphrase_options(CLI::App& verb, PassphraseOptions& options,
                            const ChosenCommand& chosen);

/// The verbs that need the keystore alone. Each of these objects takes more from mount-tools.
void add_scope_commands(CLI::App& scope, ChosenCommand& chosen);
void add_grant_commands(CLI::App& grant, ChosenCommand& chosen);
void add_audit_commands(CLI::App& app, ChosenCommand& chosen);
/// Adds `show` to them.
void add_audit_show_command(CLI::App& audit, ChosenCommand& chosen);
void add_key_commands(CLI::App& key, ChosenCommand& chosen);
void add_kms_commands(CLI::App& kms, ChosenCommand& chosen);

/// What the flags of a scope mean, in a verb's help.
inline constexpr const char* kStrictHelp =
    "Hide its names from who is not granted them, and decide each read anew; nothing in it can be "
    "mapped";
inline constexpr const char* kPurgeHelp =
    "Keep nothing of a file's plaintext in memory once nobody has it open";

/// The path of the scope that has its root at `given`; kNotFound if there is none.
Result<std::string> scope_root(const PolicySnapshot& snapshot, const std::string& given);
/// "?" if there is none.
std::string scope_path(const PolicySnapshot& snapshot, ScopeId id);

/// What `coffer key show` prints of one key.
void print_key(const KeyRow& key, const PolicySnapshot& policy, bool json);

}  // namespace coffer
