#include "keystore/cli/rewrap_commands.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "keystore/keyring/master_keys.h"

namespace coffer {
namespace {

struct RewrapOptions {
  std::string store;
  std::string other;  ///< URI of another master key
  bool all = false;
  bool abandon = false;
  bool by_recovery = false;
  bool leave_unopenable = false;
  bool json = false;
  PassphraseOptions passphrase;
  PassphraseOptions new_passphrase;
};

/// Hears of the progress, and shows it to who looks on.
bool show_progress(const MasterKeys::Progress& progress) {
  if (::isatty(STDERR_FILENO) == 0) return true;
  std::fprintf(stderr, "\r%llu of %llu keys%s", static_cast<unsigned long long>(progress.done),
               static_cast<unsigned long long>(progress.keys),
               progress.done == progress.keys ? "\n" : "");
  return true;
}

/// The other master key: the one that was begun with, or a new one.
Result<std::unique_ptr<MasterKms>> open_other(const RewrapOptions& options,
                                              const KeystoreSession& session,
                                              const std::optional<MasterKeyRecord>& begun) {
  const std::string root = TRY(absolute_path(options.store));
  const std::string uri = TRY(master_uri(options.other, session.config.store, root));
  const PassphraseSource passphrase = passphrase_source(options.new_passphrase, uri);
  if (begun && begun->uri == uri) return open_master(*begun, passphrase);
  return create_master(uri, passphrase);
}

Result<KeystoreSession> open_session(const RewrapOptions& options) {
  KeystoreSession::Options how;
  how.access = Keyring::Access::kReadWrite;
  how.passphrase = options.passphrase;
  how.by_recovery = options.by_recovery;
  return KeystoreSession::open(options.store, how);
}

/// "All keys, 703, are", for people.
std::string told(const MasterKeys::Progress& progress) {
  const std::string keys = std::to_string(progress.keys);
  if (progress.left.empty()) return "All keys, " + keys + ", are";
  return std::to_string(progress.keys - progress.left.size()) + " of " + keys + " keys are";
}

/// On stderr: which files stay as unreadable as they are.
void tell_left(const MasterKeys::Progress& progress) {
  for (const FileId& file : progress.left)
    std::fprintf(stderr, "The key of file %s does not open; it was left.\n", file.hex().c_str());
}

Result<int> rewrap(const RewrapOptions& options) {
  if (options.by_recovery && options.other.empty() && !options.abandon) {
    return Error{Code::kInvalid, 0,
                 "--recovery needs --to: the master key that the store is to have from now on"};
  }
  const KeystoreSession session = TRY(open_session(options));
  MasterKeys keys(*session.keyring);
  if (options.leave_unopenable) keys.leave_unopenable();
  if (options.abandon) {
    TRY(session.note("/", "kms rewrap --abandon"));
    TRY(keys.abandon());
    return 0;
  }
  const MasterKeyRecord before = session.master->describe();
  std::unique_ptr<MasterKms> next;
  if (!options.other.empty()) next = TRY(open_other(options, session, TRY(keys.next())));
  const MasterKeyRecord after = next ? next->describe() : before;
  TRY(session.note("/", (next ? "kms rewrap to " + after.uri : "kms rewrap") +
                            (options.by_recovery ? " by the recovery master key" : "")));
  const auto progress =
      TRY(next ? keys.move_to(*next, show_progress) : keys.rewrap(options.all, show_progress));
  tell_left(progress);
  if (options.json) {
    print_json({{"master_key", after.uri}, {"version", after.version}, {"keys", progress.keys}});
  } else {
    std::printf("%s wrapped by %s.\n", told(progress).c_str(), printable(after.uri).c_str());
  }
  if (next && !may_follow(before.uri, after.uri)) {
    std::fprintf(stderr, "Daemons that have the store mounted can't reach its new master key: %s\n",
                 may_ask(after.uri)
                     ? "for each, run: coffer lock MOUNTPOINT, coffer unlock MOUNTPOINT"
                     : "mount it anew before the keys that they hold run out");
  }
  return 0;
}

Result<int> add_recovery(const RewrapOptions& options) {
  const KeystoreSession session = TRY(open_session(options));
  MasterKeys keys(*session.keyring);
  if (options.leave_unopenable) keys.leave_unopenable();
  const auto recovery = TRY(open_other(options, session, TRY(keys.recovery())));
  const std::string uri = recovery->describe().uri;
  TRY(session.note("/", "kms recovery add " + uri));
  const auto progress = TRY(keys.set_recovery(*recovery, show_progress));
  tell_left(progress);
  std::printf("%s kept for %s.\n", told(progress).c_str(), printable(uri).c_str());
  return 0;
}

Result<int> remove_recovery(const RewrapOptions& options) {
  const KeystoreSession session = TRY(open_session(options));
  TRY(session.note("/", "kms recovery remove"));
  TRY(MasterKeys(*session.keyring).remove_recovery());
  return 0;
}

std::string versions_text(const MasterCoverage& master) {
  std::string text;
  for (const auto& [version, keys] : master.versions) {
    if (version.empty()) continue;
    text += (text.empty() ? "" : ", ") + version + ": " + std::to_string(keys);
  }
  return text.empty() ? "-" : text;
}

Result<int> list_masters(const RewrapOptions& options) {
  const KeystoreSession session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const auto found = TRY(MasterKeys(*session.keyring).coverage());
  auto list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"ROLE", "MASTER KEY", "KEYS", "BY VERSION", "SINCE"}};
  for (const MasterCoverage& each : found.masters) {
    auto versions = nlohmann::ordered_json::object();
    for (const auto& [version, keys] : each.versions) {
      if (!version.empty()) versions[version] = keys;
    }
    list.push_back({{"role", to_string(each.row.role)},
                    {"master_key", each.row.record.uri},
                    {"version", each.row.record.version},
                    {"keys", each.keys},
                    {"of", found.keys},
                    {"by_version", std::move(versions)},
                    {"since", format_time(each.row.created_at)}});
    rows.push_back({std::string(to_string(each.row.role)), each.row.record.uri,
                    std::to_string(each.keys) + " of " + std::to_string(found.keys),
                    versions_text(each), format_time(each.row.created_at)});
  }
  if (options.json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return 0;
}

void add_leave_unopenable(CLI::App& verb, RewrapOptions& options) {
  verb.add_flag("--leave-unopenable", options.leave_unopenable,
                "Let keys of files that do not open any more be, and say whose they are");
}

void add_recovery_commands(CLI::App& kms, ChosenCommand& chosen) {
  CLI::App& recovery = *kms.add_subcommand(
      "recovery", "A second master key, for the day on which the first is lost");
  recovery.require_subcommand(1);
  const auto options = std::make_shared<RewrapOptions>();
  CLI::App& add = *recovery.add_subcommand(
      "add", "Give the store a recovery master key, or make copies that it lacks");
  add.add_option("STORE", options->store, "The store's directory")->required();
  add.add_option("URI", options->other, "URI of the recovery master key")->required();
  add_leave_unopenable(add, *options);
  add_passphrase_options(add, options->passphrase, chosen);
  add.add_option("--new-passphrase-file", options->new_passphrase.file,
                 "Read the passphrase or PIN of the recovery master key from this file");
  add.callback([options, &chosen] { chosen.run = [options] { return add_recovery(*options); }; });

  const auto removed = std::make_shared<RewrapOptions>();
  CLI::App& remove =
      *recovery.add_subcommand("remove", "From now on the recovery master key opens nothing");
  remove.add_option("STORE", removed->store, "The store's directory")->required();
  add_passphrase_options(remove, removed->passphrase, chosen);
  remove.callback(
      [removed, &chosen] { chosen.run = [removed] { return remove_recovery(*removed); }; });
}

void add_rewrap(CLI::App& kms, ChosenCommand& chosen) {
  const auto options = std::make_shared<RewrapOptions>();
  CLI::App& rewrap_command = *kms.add_subcommand(
      "rewrap",
      "Wrap all keys by the newest version of the master key, or move to another one; may be "
      "stopped at any time and gone on with");
  rewrap_command.add_option("STORE", options->store, "The store's directory")->required();
  CLI::Option& to = *rewrap_command.add_option("--to", options->other,
                                               "URI of another master key, to move the store to");
  CLI::Option& all = *rewrap_command.add_flag(
      "--all", options->all,
      "Wrap anew also what the newest version, or one that is not told, has wrapped");
  all.excludes(&to);
  rewrap_command
      .add_flag("--abandon", options->abandon,
                "Stay with the present master key, if a move to another was begun")
      ->excludes(&to);
  rewrap_command
      .add_flag("--recovery", options->by_recovery,
                "The present master key is lost: open the store by its recovery master key")
      ->excludes(&all);
  add_leave_unopenable(rewrap_command, *options);
  rewrap_command.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(rewrap_command, options->passphrase, chosen);
  rewrap_command.add_option("--new-passphrase-file", options->new_passphrase.file,
                            "Read the passphrase or PIN of the other master key from this file");
  rewrap_command.callback(
      [options, &chosen] { chosen.run = [options] { return rewrap(*options); }; });
}

}  // namespace

void add_rewrap_commands(CLI::App& kms, ChosenCommand& chosen) {
  const auto listed = std::make_shared<RewrapOptions>();
  CLI::App& list =
      *kms.add_subcommand("list", "The store's master keys, and how many of its keys each wraps");
  list.add_option("STORE", listed->store, "The store's directory")->required();
  list.add_flag("--json", listed->json, "As JSON");
  add_passphrase_options(list, listed->passphrase, chosen);
  list.callback([listed, &chosen] { chosen.run = [listed] { return list_masters(*listed); }; });

  add_rewrap(kms, chosen);
  add_recovery_commands(kms, chosen);
}

}  // namespace coffer
