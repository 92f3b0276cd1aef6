#include "mount-tools/lock_command.h"

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fs/fuse/mount_table.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"

namespace coffer {
namespace {

struct LockCommand {
  std::string mountpoint;
  bool force = false;
  PassphraseOptions passphrase;
};

std::string failure_line(const Error& error) {
  return json_line({{"error", error.message()}, {"code", static_cast<int>(error.code)}});
}

std::string counted(std::size_t number, const char* one, const char* more) {
  return std::to_string(number) + " " + (number == 1 ? one : more);
}

Result<nlohmann::json> ask(const std::string& mountpoint, const nlohmann::ordered_json& request,
                           const PassphraseSource& passphrase = nullptr) {
  auto line = ask_mount(control_path(mountpoint), json_line(request), passphrase);
  if (!line && line.error().code == Code::kNotFound) {
    const auto mounted = find_mount(mountpoint);
    if (mounted && mounted->user.has_value() && *mounted->user != ::geteuid()) {
      return Error{Code::kDenied, 0,
                   mountpoint + " was mounted by uid " + std::to_string(*mounted->user) +
                       "; run the same command as that user"};
    }
    return Error{Code::kIo, 0,
                 "the daemon of " + mountpoint + " is gone; run: coffer umount " + mountpoint};
  }
  if (!line) return std::move(line).error();
  auto answer = nlohmann::json::parse(*line, nullptr, false);
  if (!answer.is_object()) return Error{Code::kIo, 0, "the mount's answer was not understood"};
  if (!answer.contains("error")) return answer;
  const std::string why = answer.value("error", std::string("the mount refused"));
  if (why == "unknown verb") {
    return Error{Code::kUnsupported, 0,
                 "the daemon of " + mountpoint +
                     " is older than this program and knows no locking; "
                     "mount it anew"};
  }
  return Error{static_cast<Code>(answer.value("code", static_cast<int>(Code::kIo))), 0, why};
}

/// The absolute path of the mount that is meant.
Result<std::string> mount_at(const std::string& given) {
  std::string mountpoint = given;
  if (!is_mounted(mountpoint)) mountpoint = TRY(absolute_path(mountpoint));
  const auto mounted = find_mount(mountpoint);
  if (mounted && mounted->type == "fuse.coffer") return mountpoint;
  return Error{Code::kNotFound, 0, "no coffer mount at " + mountpoint + "; see: coffer status"};
}

Result<int> run_lock(const LockCommand& command) {
  const std::string mountpoint = TRY(mount_at(command.mountpoint));
  const auto answer = TRY(ask(mountpoint, {{"verb", "lock"}, {"force", command.force}}));
  if (answer.value("was_locked", false))
    std::fprintf(stderr, "%s was locked already.\n", mountpoint.c_str());
  for (const auto& path : answer.value("unsaved", std::vector<std::string>())) {
    std::fprintf(stderr, "Not all that was written to it is kept: %s\n", path.c_str());
  }
  if (!answer.value("under_way", false)) return 0;
  return report_failure(
      {Code::kBusy, 0,
       mountpoint + " is locked, but operations that do not end have keys still, until they do; "
                    "see the backing filesystem, or end the daemon"});
}

Result<int> run_unlock(const LockCommand& command) {
  const std::string mountpoint = TRY(mount_at(command.mountpoint));
  const auto status = TRY(ask(mountpoint, {{"verb", "status"}}));
  if (status.contains("locked") && !status.value("locked", false)) {
    std::fprintf(stderr, "%s is not locked.\n", mountpoint.c_str());
    return 0;
  }
  PassphraseSource source;
  const std::string uri = status.value("master_key", std::string());
  if (may_ask(uri)) {
    // Asked for before the mount is: it waits for nobody who types.
    const auto passphrase =
        std::make_shared<const SecretBytes>(TRY(passphrase_source(command.passphrase, uri)(false)));
    source = [passphrase](bool) -> Result<SecretBytes> { return passphrase->clone(); };
  }
  TRY(ask(mountpoint, {{"verb", "unlock"}}, source));
  return 0;
}

}  // namespace

std::string refused_so_far(OpenStore& store) {
  return counted(store.vfs().kept_out(), "operation was refused", "operations were refused");
}

std::string serve_lock(OpenStore& store, FuseSession& session, const std::string& request,
                       const Caller& caller) {
  const auto parsed = nlohmann::json::parse(request, nullptr, false);
  Vfs::LockOptions how;
  how.force = parsed.is_object() && parsed.value("force", false);
  auto locked = store.drop_keys(how);
  if (!locked) return failure_line(locked.error());
  session.wipe_buffers();
  if (!locked->was_locked) {
    store.vfs().note_withdrawn(*locked);
    std::string detail = how.force ? "lock --force" : "lock";
    if (!locked->unsaved.empty())
      detail += ", " + counted(locked->unsaved.size(), "file", "files") + " not saved whole";
    // It is locked, on record or not.
    (void)store.broker().note("admin", store.vfs().who(caller).identity(), "/", detail);
    // Whoever hangs in a directory would have us wait there; what the kernel knows of names runs
    // out within a second anyway.
    if (!locked->under_way) session.forget_names(store.vfs().known_places());
  }
  // What was freed and not wiped goes back to the system as far as it fills pages.
  ::malloc_trim(0);
  return json_line({{"locked", true},
                    {"was_locked", locked->was_locked},
                    {"unsaved", locked->unsaved},
                    {"under_way", locked->under_way}});
}

std::string serve_unlock(OpenStore& store, const Caller& caller,
                         const PassphraseSource& passphrase) {
  if (!store.vfs().locked()) return R"({"locked":false})";
  const auto note = [&](const std::string& detail) {
    return store.broker().note("admin", store.vfs().who(caller).identity(), "/", detail);
  };
  // Before keys can be used: they are not for use off the record.
  const auto unlocked = store.take_up_keys(
      passphrase, [&] { return note("unlock, after " + refused_so_far(store)); });
  if (unlocked) return R"({"locked":false})";
  (void)note("unlock failed: " + std::string(to_string(unlocked.error().code)));
  return failure_line(unlocked.error());
}

void add_lock_commands(CLI::App& app, ChosenCommand& chosen) {
  const auto command = std::make_shared<LockCommand>();
  CLI::App& lock = *app.add_subcommand("lock", "Drop all keys of a mount, which stays mounted");
  lock.add_option("MOUNTPOINT", command->mountpoint, "Where the store is mounted")->required();
  lock.add_flag("--force", command->force, "At once, even if not all that was written can be kept");
  lock.callback([command, &chosen] { chosen.run = [command] { return run_lock(*command); }; });
  CLI::App& unlock = *app.add_subcommand("unlock", "Ask the KMS for a locked mount's keys again");
  unlock.add_option("MOUNTPOINT", command->mountpoint, "Where the store is mounted")->required();
  add_passphrase_options(unlock, command->passphrase, chosen);
  unlock.callback([command, &chosen] { chosen.run = [command] { return run_unlock(*command); }; });
}

}  // namespace coffer
