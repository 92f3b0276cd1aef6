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

void print_accepted_json(const AcceptReport& report) {
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
  print_json({{"accepted", std::move(accepted)},
              {"unchanged", report.unchanged},
              {"failed", std::move(failed)}});
}

void print_accepted(const AcceptReport& report, bool dry_run) {
  for (const Acceptance& one : report.accepted) {
    const std::string outcome =
        one.new_generation == 0 ? "would be accepted"
                                : "accepted, as generation " + std::to_string(one.new_generation);
    std::printf("%s: %sgeneration %llu on record, %llu found: %s\n", one.path.c_str(),
                one.deleted ? "deleted, " : "",
                static_cast<unsigned long long>(one.recorded_generation),
                static_cast<unsigned long long>(one.found_generation), outcome.c_str());
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
  const auto store = TRY(OpenStore::open(open));
  AcceptReport report;
  {
    Progress progress("accepting");
    report = accept(*store, what.path, options.dry_run, progress);
  }
  if (options.json) {
    print_accepted_json(report);
  } else {
    print_accepted(report, options.dry_run);
    for (const auto& [path, error] : report.failed)
      std::fprintf(stderr, "%s\n", failure_line(path, error).c_str());
  }
  return report.failed.empty() ? 0 : exit_code(report.failed.front().second.code);
}

}  // namespace

void add_accept_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "accept", "Say on the record that files were put back from a backup on purpose");
  const auto options = std::make_shared<AcceptOptions>();
  verb.add_option("STORE", options->store, "STORE:PATH, a file or a tree; or all of STORE")
      ->required();
  verb.add_flag("--dry-run", options->dry_run, "Only show what would be accepted");
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase);
  verb.footer(
      "For files that are refused as rolled back, or as deleted and there again. Each has to\n"
      "authenticate whole, and counts as newer than its record from then on. Needs the right\n"
      "to write them.");
  verb.callback(
      [options, &chosen] { chosen.run = [options] { return accept_restore(*options); }; });
}

}  // namespace coffer
