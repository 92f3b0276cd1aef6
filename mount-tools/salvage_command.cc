#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/commands.h"
#include "mount-tools/salvage.h"
#include "mount-tools/transfer.h"

namespace coffer {
namespace {

struct SalvageOptions {
  std::string source;
  std::string destination;
  bool backing = false;
  bool json = false;
  PassphraseOptions passphrase;
};

void print(const SalvageReport& report, double seconds, bool json) {
  if (json) {
    auto findings = nlohmann::ordered_json::array();
    for (const Finding& finding : report.findings) findings.push_back(to_json(finding));
    print_json({{"files", report.files},
                {"bytes", report.bytes},
                {"bytes_lost", report.bytes_lost},
                {"seconds", seconds},
                {"findings", std::move(findings)}});
    return;
  }
  for (const Finding& finding : report.findings) std::puts(to_line(finding).c_str());
  std::printf("salvaged %llu files, %s in %.1f s, %s lost: %zu findings\n",
              static_cast<unsigned long long>(report.files), format_bytes(report.bytes).c_str(),
              seconds, format_bytes(report.bytes_lost).c_str(), report.findings.size());
}

Result<int> salvage(const SalvageOptions& options) {
  const StorePath source = TRY(parse_store_path(options.source));
  const auto store = TRY(OpenStore::open_read_only(source.root, options.passphrase));
  std::string target = options.destination;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  // A backing path is relative to the store's directory, which "/" then stands for.
  const std::string path = options.backing ? source.path.substr(1) : source.path;
  const Who who = store->vfs().who(Caller::self());
  bool directory = path.empty() || path == "/";
  if (options.backing && !directory) {
    const auto [above, stored] = split_backing(path);
    const auto dir = TRY(open_backing_dir(store->vfs().backing_root(), above));
    directory = S_ISDIR(TRY(dir->status_of(stored)).st_mode);
  } else if (!directory) {
    const auto found = find_path(store->vfs(), who, path);
    if (!found && found.error().code != Code::kCorrupt) return found.error();
    directory = found && S_ISDIR(found->attributes.st_mode);
  }
  if (!directory) target = file_target(target, path.substr(path.find_last_of('/') + 1));
  SalvageReport report;
  double seconds = 0;
  {
    Progress progress("salvaging");
    report = salvage(*store, path.empty() ? "." : path, options.backing, target, progress);
    seconds = progress.seconds();
  }
  print(report, seconds, options.json);
  return exit_code(report.findings);
}

}  // namespace

void add_salvage_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "salvage", "Copy out of damaged files what still authenticates; the rest becomes holes");
  const auto options = std::make_shared<SalvageOptions>();
  verb.add_option("STORE", options->source, "STORE or STORE:PATH")->required();
  verb.add_option("DST", options->destination, "Where to; nothing there is written over")
      ->required();
  verb.add_flag("--backing", options->backing,
                "PATH is a backing path, as verify and path show it");
  verb.add_flag("--json", options->json, "What was lost as JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "The exit code is 0 if all was there and current, else that of the gravest finding.\n"
      "What was moved, deleted, or is older than its record is copied too, and said to be so.");
  verb.callback([options, &chosen] { chosen.run = [options] { return salvage(*options); }; });
}

}  // namespace coffer
