#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/commands.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "keystore/keyring/keyring.h"
#include "keystore/keyring/master_keys.h"
#include "keystore/kms/kms_check.h"

namespace coffer {
namespace {

struct KmsOptions {
  std::string store;
  bool read_only = false;
  bool json = false;
  PassphraseOptions passphrase;

  std::string to;
  bool all = false;
  bool abandon = false;
  PassphraseOptions new_passphrase;
};

double milliseconds(const KmsCheck& check) {
  return static_cast<double>(check.took.count()) / 1000.0;
}

void print_report_json(const KmsTrial& trial, const KmsReport& report) {
  auto facts = nlohmann::ordered_json::object();
  for (const KmsFact& fact : report.facts) facts[fact.name] = fact.value;
  auto checks = nlohmann::ordered_json::array();
  for (const KmsCheck& check : report.checks) {
    nlohmann::ordered_json line = {
        {"check", check.what}, {"ok", !check.error.has_value()}, {"ms", milliseconds(check)}};
    if (check.error) {
      line["code"] = to_string(check.error->code);
      const Explained why = explain(*check.error);
      line["error"] = why.cause;
      line["remedy"] = why.remedy;
    }
    checks.push_back(std::move(line));
  }
  print_json({{"master_key", trial.record.uri},
              {"version", trial.record.version},
              {"facts", std::move(facts)},
              {"checks", std::move(checks)}});
}

void print_report(const KmsTrial& trial, const KmsReport& report) {
  std::vector<std::vector<std::string>> rows = {{"master key", trial.record.uri},
                                                {"version", trial.record.version}};
  for (const KmsFact& fact : report.facts) rows.push_back({fact.name, fact.value});
  print_table(rows);
  std::puts("");
  for (const KmsCheck& check : report.checks) {
    std::printf("%-6s  %-28s  %9.1f ms\n", check.error ? "FAILED" : "ok",
                std::string(check.what).c_str(), milliseconds(check));
    if (!check.error) continue;
    const Explained why = explain(*check.error);
    std::printf("        %s\n", printable(why.cause).c_str());
    if (!why.remedy.empty()) std::printf("        -> %s\n", printable(why.remedy).c_str());
  }
}

Result<int> check_kms(const KmsOptions& options) {
  const StoreConfig config = TRY(read_store_config(options.store));
  const KeystorePeek peek = TRY(Keyring::peek(config.keystore));
  if (peek.store != config.store) {
    return Error{Code::kForeignKeystore, 0,
                 "keystore " + config.keystore + " belongs to store " + peek.store.hex()};
  }
  const KmsTrial trial{.record = peek.master,
                       .store = config.store,
                       .policy_key = peek.policy_key,
                       .may_wrap = !options.read_only};
  const KmsReport report = check_master(trial, passphrase_source(options.passphrase));
  if (options.json) {
    print_report_json(trial, report);
  } else {
    print_report(trial, report);
  }
  const auto failed = std::find_if(report.checks.begin(), report.checks.end(),
                                   [](const KmsCheck& check) { return check.error.has_value(); });
  return failed == report.checks.end() ? 0 : exit_code(failed->error->code);
}

/// Hears of the progress, and shows it to who looks on.
bool show_progress(const MasterKeys::Progress& progress) {
  if (::isatty(STDERR_FILENO) == 0) return true;
  std::fprintf(stderr, "\r%llu of %llu keys%s", static_cast<unsigned long long>(progress.done),
               static_cast<unsigned long long>(progress.keys),
               progress.done == progress.keys ? "\n" : "");
  return true;
}

/// The master key that the store is to have: the one that it is on its way to, or a new one.
Result<std::unique_ptr<MasterKms>> open_next(const KmsOptions& options,
                                             const KeystoreSession& session,
                                             const std::optional<MasterKeyRecord>& begun) {
  const std::string root = TRY(absolute_path(options.store));
  const std::string uri = TRY(master_uri(options.to, session.config.store, root));
  const PassphraseSource passphrase = passphrase_source(options.new_passphrase);
  if (begun && begun->uri == uri) return open_master(*begun, passphrase);
  return create_master(uri, passphrase);
}

Result<int> rewrap(const KmsOptions& options) {
  const KeystoreSession session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  MasterKeys keys(*session.keyring);
  if (options.abandon) {
    TRY(session.note("/", "kms rewrap --abandon"));
    TRY(keys.abandon());
    return 0;
  }
  const MasterKeyRecord before = session.master->describe();
  std::unique_ptr<MasterKms> next;
  if (!options.to.empty()) next = TRY(open_next(options, session, TRY(keys.next())));
  const MasterKeyRecord after = next ? next->describe() : before;
  TRY(session.note("/", next ? "kms rewrap to " + after.uri : "kms rewrap"));
  const auto progress =
      TRY(next ? keys.move_to(*next, show_progress) : keys.rewrap(options.all, show_progress));
  if (options.json) {
    print_json({{"master_key", after.uri}, {"version", after.version}, {"keys", progress.keys}});
  } else {
    std::printf("All keys, %llu, are wrapped by %s.\n",
                static_cast<unsigned long long>(progress.keys), printable(after.uri).c_str());
  }
  if (next && !may_follow(before.uri, after.uri)) {
    std::fprintf(stderr, "Daemons that have the store mounted can't reach its new master key: %s\n",
                 may_ask(after.uri)
                     ? "for each, run: coffer lock MOUNTPOINT, coffer unlock MOUNTPOINT"
                     : "mount it anew before the keys that they hold run out");
  }
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

Result<int> list_masters(const KmsOptions& options) {
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

void add_rewrap(CLI::App& kms, ChosenCommand& chosen) {
  const auto options = std::make_shared<KmsOptions>();
  CLI::App& rewrap_command = *kms.add_subcommand(
      "rewrap",
      "Wrap all keys by the newest version of the master key, or move to another one; may be "
      "stopped at any time and gone on with");
  rewrap_command.add_option("STORE", options->store, "The store's directory")->required();
  CLI::Option& to = *rewrap_command.add_option("--to", options->to,
                                               "URI of another master key, to move the store to");
  rewrap_command
      .add_flag("--all", options->all,
                "Wrap anew also what the newest version, or one that is not told, has wrapped")
      ->excludes(&to);
  rewrap_command
      .add_flag("--abandon", options->abandon,
                "Stay with the present master key, if a move to another was begun")
      ->excludes(&to);
  rewrap_command.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(rewrap_command, options->passphrase);
  rewrap_command.add_option("--new-passphrase-file", options->new_passphrase.file,
                            "Read the passphrase or PIN of the other master key from this file");
  rewrap_command.callback(
      [options, &chosen] { chosen.run = [options] { return rewrap(*options); }; });
}

}  // namespace

void add_kms_commands(CLI::App& kms, ChosenCommand& chosen) {
  const auto options = std::make_shared<KmsOptions>();
  CLI::App& check = *kms.add_subcommand(
      "check", "Try what a store asks of its master key, and say what to do about what fails");
  check.add_option("STORE", options->store, "The store's directory")->required();
  check.add_flag("--read-only", options->read_only,
                 "As a node that only reads: it need not be able to wrap");
  check.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(check, options->passphrase);
  check.callback([options, &chosen] { chosen.run = [options] { return check_kms(*options); }; });

  const auto listed = std::make_shared<KmsOptions>();
  CLI::App& list =
      *kms.add_subcommand("list", "The store's master keys, and how many of its keys each wraps");
  list.add_option("STORE", listed->store, "The store's directory")->required();
  list.add_flag("--json", listed->json, "As JSON");
  add_passphrase_options(list, listed->passphrase);
  list.callback([listed, &chosen] { chosen.run = [listed] { return list_masters(*listed); }; });

  add_rewrap(kms, chosen);
}

}  // namespace coffer
