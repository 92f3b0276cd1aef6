#include <CLI/CLI.hpp>

#include "mount-tools/commands.h"
#include "mount-tools/file_key.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

struct KeyShowOptions {
  std::string store;
  std::string what;
  bool json = false;
  PassphraseOptions passphrase;
};

Result<int> show_key(const KeyShowOptions& options) {
  const auto store = TRY(OpenStore::open_read_only(options.store, options.passphrase));
  const FileId file = TRY(options.what.starts_with("/") ? file_at(store->vfs(), options.what)
                                                        : file_id_from(options.what));
  Keyring& keyring = *store->session().keyring;
  print_key(TRY(newest_key(keyring, file)), TRY(keyring.policy()), options.json);
  return 0;
}

}  // namespace

void add_key_show_command(CLI::App& key, ChosenCommand& chosen) {
  CLI::App& verb = *key.add_subcommand("show", "Show the key of one file");
  const auto options = std::make_shared<KeyShowOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->what, "The file's path in the store, from /, or its id")
      ->required();
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, &chosen] { chosen.run = [options] { return show_key(*options); }; });
}

}  // namespace coffer
