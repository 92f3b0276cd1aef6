#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/exit_code.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "mount-tools/accept.h"
#include "mount-tools/commands.h"
#include "mount-tools/transfer.h"

namespace coffer {
namespace {

struct AcceptOptions {
  std::string store;
  bool dry_run = false;
  bool json = false;
  PassphraseOptions passphrase;
};

nlohmann::ordered_json keystore_json(const KeystoreAcceptance& keystore) {
  nlohmann::ordered_json row = {{"seen_generation", keystore.seen_generation},
                                {"found_generation", keystore.found_generation}};
  if (keystore.new_generation != 0) row["new_generation"] = keystore.new_generation;
  return row;
}

std::string outcome_of(std::uint64_t new_generation) {
  if (new_generation == 0) return "would be accepted";
  return "accepted, as generation " + std::to_string(new_generation);
}

void print_accepted_json(const AcceptReport& report,
                         const std::optional<KeystoreAcceptance>& keystore) {
  auto accepted = nlohmann::ordered_json::array();
  for (const Acceptance& one : report.accepted) {
    nlohmann::ordered_json row = {{"path", one.path},
                                  {"file", one.file.hex()},
                                  {"deleted", one.deleted},
                                  {"recorded_generation", one.recorded_generation},
                                  {"found_generation", one.found_generation}};
    if (one.new_generation != 0) row["new_generation"] = one.new_generation;
    accepted.push_back(std::move(row));
  }
  auto failed = nlohmann::ordered_json::array();
  for (const auto& [path, error] : report.failed) {
    failed.push_back(
        {{"path", path}, {"cause", to_string(error.code)}, {"message", error.message()}});
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  if (keystore.has_value()) all["keystore"] = keystore_json(*keystore);
  all["accepted"] = std::move(accepted);
  all["unchanged"] = report.unchanged;
  all["failed"] = std::move(failed);
  print_json(all);
}

void print_accepted(const AcceptReport& report, const std::optional<KeystoreAcceptance>& keystore,
                    bool dry_run) {
  if (keystore.has_value()) {
    std::printf("keystore: generation %llu seen, %llu found: %s\n",
                static_cast<unsigned long long>(keystore->seen_generation),
                static_cast<unsigned long long>(keystore->found_generation),
                outcome_of(keystore->new_generation).c_str());
  }
  for (const Acceptance& one : report.accepted) {
    std::printf("%s: %sgeneration %llu on record, %llu found: %s\n", one.path.c_str(),
                one.deleted ? "deleted, " : "",
                static_cast<unsigned long long>(one.recorded_generation),
                static_cast<unsigned long long>(one.found_generation),
                outcome_of(one.new_generation).c_str());
  }
  std::printf("%zu files %saccepted, %llu are as they are on record\n", report.accepted.size(),
              dry_run ? "would be " : "", static_cast<unsigned long long>(report.unchanged));
}

Result<int> accept_restore(const AcceptOptions& options) {
  const StorePath what = TRY(parse_store_path(options.store));
  OpenStore::Options open;
  open.root = what.root;
  open.read_only = options.dry_run;
  open.purpose = "coffer accept";
  open.passphrase = options.passphrase;
  // A part of the store is accepted by a keystore that is believed already.
  if (!what.path_given) open.if_older = Keyring::IfOlder::kTake;
  const auto store = TRY(OpenStore::open(open));
  std::optional<KeystoreAcceptance> keystore;
  if (!what.path_given) keystore = TRY(accept_keystore(*store, options.dry_run));
  AcceptReport report;
  {
    Progress progress("accepting");
    report = accept(*store, what.path, options.dry_run, progress);
  }
  if (options.json) {
    print_accepted_json(report, keystore);
  } else {
    print_accepted(report, keystore, options.dry_run);
    for (const auto& [path, error] : report.failed)
      std::fprintf(stderr, "%s\n", failure_line(path, error).c_str());
  }
  return report.failed.empty() ? 0 : exit_code(report.failed.front().second.code);
}

}  // namespace

void add_accept_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "accept", "Say on the record that files, or the keystore, were put back on purpose");
  const auto options = std::make_shared<AcceptOptions>();
  verb.add_option("STORE", options->store,
                  "STORE:PATH, a file or a tree; or all of STORE, its keystore too")
      ->required();
  verb.add_flag("--dry-run", options->dry_run, "Only show what would be accepted");
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "For files that are refused as rolled back, or as deleted and there again. Each has to\n"
      "authenticate whole, and counts as newer than its record from then on. Needs the right\n"
      "to write them. Without a PATH also for a keystore older than this node has seen, which\n"
      "needs the master key alone.");
  verb.callback(
      [options, &chosen] { chosen.run = [options] { return accept_restore(*options); }; });
}

}  // namespace coffer
