#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "mount-tools/commands.h"
#include "mount-tools/tree.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

struct KeyShowOptions {
  std::string store;
  std::string what;
  bool json = false;
  PassphraseOptions passphrase;
};

/// The id that the file at a path has in its header.
Result<FileId> file_at(OpenStore& store, const std::string& path) {
  const Who who = store.vfs().who(Caller::self());
  const Found found = TRY(find_path(store.vfs(), who, path));
  if (!S_ISREG(found.attributes.st_mode))
    return Error{Code::kInvalid, 0, path + " is no file; only files have keys of their own"};
  const OpenHandle handle(store.vfs(), TRY(store.vfs().open(who, found.inode.get(), O_RDONLY)));
  return handle.get().file->content().keys().file;
}

Result<int> show_key(const KeyShowOptions& options) {
  const auto store = TRY(OpenStore::open_read_only(options.store, options.passphrase));
  FileId wanted;
  if (options.what.starts_with("/")) {
    wanted = TRY(file_at(*store, TRY(normalise_path(options.what))));
  } else {
    const auto bytes = from_hex(options.what);
    if (!bytes || bytes->size() != 16) {
      return Error{Code::kInvalid, 0,
                   options.what + " is neither a path (from /) nor a file id (32 hex digits)"};
    }
    wanted = FileId::from(*bytes);
  }
  std::optional<KeyRow> newest;
  const auto keep = [&](const KeyRow& key) {
    if (key.file == wanted) newest = key;
    return key.file == wanted;
  };
  TRY(store->session().keyring->visit_keys(keep, wanted));
  if (!newest) return Error{Code::kNotFound, 0, "the keystore has no key of file " + wanted.hex()};
  print_key(*newest, TRY(store->session().keyring->policy()), options.json);
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
  add_passphrase_options(verb, options->passphrase);
  verb.callback([options, &chosen] { chosen.run = [options] { return show_key(*options); }; });
}

}  // namespace coffer
