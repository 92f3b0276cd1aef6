#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/commands.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/rewrap_commands.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "keystore/keyring/keyring.h"
#include "keystore/kms/kms_check.h"

namespace coffer {
namespace {

struct KmsOptions {
  std::string store;
  bool read_only = false;
  bool json = false;
  PassphraseOptions passphrase;
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
  const KmsReport report =
      check_master(trial, passphrase_source(options.passphrase, trial.record.uri));
  if (options.json) {
    print_report_json(trial, report);
  } else {
    print_report(trial, report);
  }
  const auto failed = std::find_if(report.checks.begin(), report.checks.end(),
                                   [](const KmsCheck& check) { return check.error.has_value(); });
  return failed == report.checks.end() ? 0 : exit_code(failed->error->code);
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
  add_passphrase_options(check, options->passphrase, chosen);
  check.callback([options, &chosen] { chosen.run = [options] { return check_kms(*options); }; });

  add_rewrap_commands(kms, chosen);
}

}  // namespace coffer
