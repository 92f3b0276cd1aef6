#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/commands.h"
#include "mount-tools/repair.h"
#include "mount-tools/verifier.h"

namespace coffer {
namespace {

struct VerifyOptions {
  std::string store;
  bool json = false;
  bool repair = false;
  PassphraseOptions passphrase;
};

std::size_t journals_removed(const VerifyReport& report) {
  return static_cast<std::size_t>(
      std::count_if(report.notes.begin(), report.notes.end(), [](const Finding& note) {
        return note.kind == FindingKind::kJournal && !note.repaired.empty();
      }));
}

void print_report_json(const VerifyReport& report, double seconds, bool repaired) {
  const auto list = [](const std::vector<Finding>& findings) {
    auto rows = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) rows.push_back(to_json(finding));
    return rows;
  };
  nlohmann::ordered_json json = {{"files", report.files},
                                 {"directories", report.directories},
                                 {"bytes", report.bytes},
                                 {"seconds", seconds},
                                 {"spare_keys", report.spare_keys},
                                 {"keys_without_file", report.keys_without_file},
                                 {"findings", list(report.findings)},
                                 {"notes", list(report.notes)}};
  if (repaired) {
    json["journals"] = {{"applied", report.journals_applied},
                        {"removed", journals_removed(report)}};
  }
  print_json(json);
}

void print_report(const VerifyReport& report, double seconds, bool is_repair) {
  std::size_t repaired = 0;
  for (const Finding& finding : report.findings) {
    if (!finding.repaired.empty()) ++repaired;
    std::puts(to_line(finding).c_str());
  }
  for (const Finding& note : report.notes) std::puts(("note: " + to_line(note)).c_str());
  if (const std::size_t removed = journals_removed(report);
      is_repair && report.journals_applied + removed > 0) {
    std::printf("journals that a crash left: %llu applied, %zu removed\n",
                static_cast<unsigned long long>(report.journals_applied), removed);
  }
  std::printf("verified %llu files in %llu directories, %s in %.1f s: %zu findings%s\n",
              static_cast<unsigned long long>(report.files),
              static_cast<unsigned long long>(report.directories),
              format_bytes(report.bytes).c_str(), seconds, report.findings.size(),
              repaired > 0 ? (", " + std::to_string(repaired) + " repaired").c_str() : "");
}

/// What the last crash left in .coffer/tmp, which opening a store for writing clears away.
std::vector<Finding> leftovers(const std::string& root) {
  std::vector<Finding> found;
  const auto backing = BackingDir::open_root(real_syscalls(), root);
  if (!backing) return found;
  for (const std::string& name : stored_names(**backing, temporary_path())) {
    found.push_back({.kind = FindingKind::kLeftover,
                     .cause = Code::kNotFound,
                     .backing = join_backing(temporary_path(), name),
                     .message = "a crash left it half made, or half removed",
                     .repaired = "removed"});
  }
  return found;
}

/// For writing it is opened as a read-write mount opens it: the journal that a crash left of a file
/// is applied when that is read.
Result<std::unique_ptr<OpenStore>> open_store(const VerifyOptions& options,
                                              const std::string& root) {
  if (!options.repair) return OpenStore::open_read_only(root, options.passphrase);
  OpenStore::Options open;
  open.root = root;
  open.purpose = "coffer verify --repair";
  open.passphrase = options.passphrase;
  open.report = [](const Error& error) {
    std::fprintf(stderr, "coffer: %s\n", error.message().c_str());
  };
  open.tell = [](const std::string& what) { std::fprintf(stderr, "coffer: %s\n", what.c_str()); };
  return OpenStore::open(open);
}

Result<int> verify(const VerifyOptions& options) {
  const StorePath what = TRY(parse_store_path(options.store));
  if (options.repair && what.path != "/") {
    return Error{Code::kInvalid, 0,
                 "--repair is for a whole store; which keys have no file is known of it alone"};
  }
  const std::vector<Finding> cleared =
      options.repair ? leftovers(what.root) : std::vector<Finding>();
  const auto store = TRY(open_store(options, what.root));
  double seconds = 0;
  VerifyReport report;
  {
    Progress progress("verifying");
    report = TRY(Verifier(*store, progress).run(what.path));
    seconds = progress.seconds();
  }
  if (options.repair) {
    TRY(repair(*store, report));
    report.notes.insert(report.notes.end(), cleared.begin(), cleared.end());
    TRY(store->vfs().finish());
  }
  if (options.json) {
    print_report_json(report, seconds, options.repair);
  } else {
    print_report(report, seconds, options.repair);
  }
  return exit_code(report.findings);
}

}  // namespace

void add_verify_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb =
      *app.add_subcommand("verify", "Read and authenticate everything in a store, without a mount");
  const auto options = std::make_shared<VerifyOptions>();
  verb.add_option("STORE", options->store, "STORE or STORE:PATH")->required();
  verb.add_flag("--json", options->json, "The findings as JSON");
  verb.add_flag("--repair", options->repair,
                "Set aside what is beyond use, record as deleted what is gone");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "The exit code is that of the gravest finding, 0 if there is none; notes do not count.\n"
      "Repair destroys nothing: what it sets aside lies in STORE/.coffer/quarantine.");
  verb.callback([options, &chosen] { chosen.run = [options] { return verify(*options); }; });
}

}  // namespace coffer
