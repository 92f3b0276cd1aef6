#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "keystore/cli/environment_pin.h"
#include "keystore/cli/exit_code.h"
#include "keystore/kms/tpm2_seal.h"
#include "mount-tools/commands.h"
#include "mount-tools/daemon.h"
#include "mount-tools/mount_command.h"

namespace {

constexpr int kUsage = 2;
/// What mount(8) takes for "the mount failed" and "called wrongly".
constexpr int kMountFailed = 32;

constexpr const char* kExitCodes =
    R"(Exit codes: 0 success, 1 I/O and other failures, 2 usage, 3 not a store, 4 wrong key or
passphrase, 5 keystore missing, 6 keystore of another store, 7 unknown format version, 8 corrupt,
9 moved, 10 rolled back, 11 key unavailable, 12 denied, 13 revoked, 14 expired, 15 mount point,
16 busy, 17 read-only, 18 no space, 19 not found, 20 exists, 21 a limit, 22 unsupported, 23 the KMS
denies it, 24 it has no such master key, 25 the master key is disabled, 26 the KMS can't be reached.)";

/// mount(8) calls: mount.fuse.coffer STORE MOUNTPOINT [-sfnv] [-o OPTIONS].
int mount_helper(int argc, char** argv, std::shared_ptr<coffer::EnvironmentPin> pin) {
  coffer::MountCommand command;
  command.passphrase.pin = std::move(pin);
  std::vector<std::string> places;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "-o" && i + 1 < argc) {
      command.options.emplace_back(argv[++i]);
    } else if (argument == "-t" && i + 1 < argc) {
      ++i;
    } else if (!argument.starts_with("-")) {
      places.emplace_back(argument);
    }
  }
  if (places.size() != 2) {
    std::fprintf(stderr, "usage: %s STORE MOUNTPOINT [-o OPTIONS]\n", argv[0]);
    return 1;
  }
  command.store = places[0];
  command.mountpoint = places[1];
  return coffer::run_mount(std::move(command)) == 0 ? 0 : kMountFailed;
}

/// One line, with the command whose help says how it is meant.
std::string usage_failure(const CLI::App* app, const CLI::Error& error) {
  std::string command = "coffer";
  const CLI::App* at = app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  std::string what = error.what();
  const std::vector<std::string> unknown = at->remaining();
  if (at->get_require_subcommand_min() > 0 && at->get_subcommands().empty()) {
    what = unknown.empty() ? "a command is missing" : "'" + unknown.front() + "' is no command";
  }
  return "coffer: " + what + "; see: " + command + " --help\n";
}

void add_commands(CLI::App& app, coffer::ChosenCommand& chosen) {
  coffer::add_init_command(app, chosen);
  coffer::add_mount_command(app, chosen);
  coffer::add_umount_command(app, chosen);
  coffer::add_lock_commands(app, chosen);
  coffer::add_status_command(app, chosen);
  coffer::add_import_command(app, chosen);
  coffer::add_export_command(app, chosen);
  coffer::add_verify_command(app, chosen);
  coffer::add_salvage_command(app, chosen);
  coffer::add_accept_command(app, chosen);
  coffer::add_path_command(app, chosen);
  CLI::App& scope = *app.add_subcommand("scope", "Directory trees that share keys and grants");
  scope.require_subcommand(1);
  coffer::add_scope_create_command(scope, chosen);
  coffer::add_scope_commands(scope, chosen);
  CLI::App& grant = *app.add_subcommand("grant", "Say which processes may use a scope");
  grant.require_subcommand(1);
  coffer::add_grant_commands(grant, chosen);
  coffer::add_grant_explain_command(grant, chosen);
  coffer::add_grant_learn_command(grant, chosen);
  coffer::add_audit_commands(app, chosen);
  CLI::App& key = *app.add_subcommand("key", "The keys of a store");
  key.require_subcommand(1);
  coffer::add_key_commands(key, chosen);
  coffer::add_key_show_command(key, chosen);
  coffer::add_key_state_commands(key, chosen);
  CLI::App& kms = *app.add_subcommand("kms", "The master key of a store, and what keeps it");
  kms.require_subcommand(1);
  coffer::add_kms_commands(kms, chosen);
}

int run(int argc, char** argv, std::shared_ptr<coffer::EnvironmentPin> pin) {
  CLI::App app("Coffer: an encrypted filesystem for model weights");
  app.set_version_flag("--version", COFFER_VERSION);
  app.require_subcommand(1);
  app.failure_message(usage_failure);
  coffer::ChosenCommand chosen{.run = {}, .pin = std::move(pin)};
  add_commands(app, chosen);
  app.footer(kExitCodes);  // after the commands, which would have it in their own help
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version come as errors that are none.
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  auto outcome = chosen.run();
  if (!outcome) return coffer::report_failure(outcome.error());
  return *outcome;
}

}  // namespace

int main(int argc, char** argv) {
  coffer::harden_process();
  try {
    auto pin = coffer::EnvironmentPin::take();
    coffer::silence_tpm2_library();
    const std::string_view name = argc > 0 ? argv[0] : "coffer";
    const std::string_view base = name.substr(name.find_last_of('/') + 1);
    if (base == "mount.fuse.coffer" || base == "mount.coffer")
      return mount_helper(argc, argv, std::move(pin));
    return run(argc, argv, std::move(pin));
  } catch (const std::bad_alloc&) {
    return coffer::report_failure(
        {coffer::Code::kExhausted, 0, "out of memory, or of memory that may be locked for keys"});
  } catch (const std::exception& bug) {
    std::fprintf(stderr, "coffer: %s; this is a bug, please report it\n", bug.what());
    return 1;
  }
}
