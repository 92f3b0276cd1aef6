#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>

#include "keystore/cli/exit_code.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"
#include "mount-tools/import.h"
#include "mount-tools/tree.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

struct ImportOptions {
  std::string source;
  std::string destination;
  bool json = false;
  PassphraseOptions passphrase;
};

/// Where a source goes: a directory's contents to the path itself; a file into the directory that
/// the path names, by being there or by its trailing slash, else to the path.
Result<std::string> target_path(Vfs& vfs, const std::string& source, const struct stat& status,
                                const StorePath& destination) {
  if (S_ISDIR(status.st_mode)) return destination.path;
  const std::string name = source.substr(source.find_last_of('/') + 1);
  const Who who = vfs.who(Caller::self());
  const auto there = find_path(vfs, who, destination.path);
  const bool directory = there ? S_ISDIR(there->attributes.st_mode) : destination.trailing_slash;
  return directory ? join_path(destination.path, name) : destination.path;
}

Result<int> import(const ImportOptions& options) {
  const StorePath destination = TRY(parse_store_path(options.destination));
  std::string source = options.source;
  while (source.size() > 1 && source.back() == '/') source.pop_back();
  struct stat status {};
  if (::lstat(source.c_str(), &status) != 0) return errno_error(errno, options.source);

  OpenStore::Options open;
  open.root = destination.root;
  open.purpose = "coffer import";
  open.passphrase = options.passphrase;
  open.report = [](const Error& error) {
    std::fprintf(stderr, "coffer: %s\n", error.message().c_str());
  };
  const auto store = TRY(OpenStore::open(open));
  const std::string path = TRY(target_path(store->vfs(), source, status, destination));
  TransferCounts counts;
  double seconds = 0;
  std::uint64_t bytes = 0;
  {
    Progress progress("importing");
    counts = import_tree(store->vfs(), Caller::self(), source, path, progress);
    // Done is what is on the disk and on record.
    TRY(store->vfs().finish());
    seconds = progress.seconds();
    bytes = progress.bytes();
  }
  return report_transfer("imported", counts, bytes, seconds, options.json);
}

}  // namespace

void add_import_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "import", "Copy files into a store, without a mount; run again to carry on");
  const auto options = std::make_shared<ImportOptions>();
  verb.add_option("SRC", options->source, "A file, or a directory whose contents are copied")
      ->required();
  verb.add_option("STORE", options->destination, "STORE or STORE:PATH")->required();
  verb.add_flag("--json", options->json, "The summary as JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, &chosen] { chosen.run = [options] { return import(*options); }; });
}

}  // namespace coffer
