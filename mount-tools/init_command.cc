#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "fs/names/stored.h"
#include "keystore/base/atomic_file.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/values.h"
#include "keystore/crypto/random.h"
#include "mount-tools/commands.h"

namespace coffer {
namespace {

struct InitOptions {
  std::string store;
  std::string kms;
  std::string keystore;
  std::string names = "encrypted";
  std::string sensitivity = "internal";
  std::string suite = "aes-256-gcm";
  std::string chunk_size = "4k";
  PassphraseOptions passphrase;
};

/// What init has made so far, removed again unless all went well.
class Undo {
 public:
  ~Undo() {
    for (auto path = files_.rbegin(); path != files_.rend(); ++path) {
      if (::unlink(path->c_str()) != 0 && errno == EISDIR) ::rmdir(path->c_str());
    }
  }
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  void on_failure(const std::string& path) { files_.push_back(path); }
  void all_went_well() { files_.clear(); }

 private:
  std::vector<std::string> files_;
};

Result<bool> is_empty_directory(const std::string& path) {
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) return errno_error(errno, path);
  bool empty = true;
  while (const dirent* const entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") empty = false;
  }
  ::closedir(directory);
  return empty;
}

/// The store's directory, made if it is missing.
Result<std::string> prepare_root(const std::string& given, Undo& undo) {
  const std::string root = TRY(absolute_path(given));
  // Its mode is the mount's: others have to get in for grants to decide. What lies here is
  // ciphertext, and .coffer is ours alone.
  if (::mkdir(root.c_str(), 0755) == 0) {
    undo.on_failure(root);
    return root;
  }
  if (errno != EEXIST) return errno_error(errno, "making " + root);
  if (::access((root + "/.coffer").c_str(), F_OK) == 0) {
    return Error{Code::kExists, 0,
                 root + " is a coffer store already; see: coffer scope list " + root};
  }
  if (!TRY(is_empty_directory(root))) {
    return Error{Code::kExists, 0,
                 root + " is not empty; give a new or empty directory, then: coffer import"};
  }
  return root;
}

GrantRow grant_to_ourselves() {
  GrantRow grant;
  grant.rights = 7;
  grant.selectors = {Selector::unix_uid(::geteuid()).text()};
  grant.purpose = "made by coffer init";
  grant.created_by = grant.selectors[0];
  return grant;
}

Result<void> write_root_record(const std::string& root, StoreId store, DirId root_dir,
                               const SecretBytes& secret, bool encrypted) {
  const ScopeNames names(secret, store, kRootScope, encrypted);
  const DirectoryBlock block =
      names.seal_directory(DirectoryRecord{.scope = kRootScope,
                                           .store = store,
                                           .dir = root_dir,
                                           .generation = 1,
                                           .bindings = {names.bind_directory(root_dir, {}, "")}});
  return create_file(root + "/" + kDirectoryRecordName, block, 0600);
}

Result<int> init(const InitOptions& options) {
  TRY(prepare_locked_memory());
  Keyring::CreateOptions create;
  create.names = TRY(names_mode_from_name(options.names));
  create.root_scope.sensitivity = TRY(sensitivity_from_name(options.sensitivity));
  create.root_scope.suite = TRY(suite_from_name(options.suite));
  create.root_scope.chunk_log2 = TRY(parse_chunk_size(options.chunk_size));
  create.first_grant = grant_to_ourselves();
  random_bytes(create.store.bytes);
  random_bytes(create.root_dir.bytes);

  Undo undo;
  const std::string root = TRY(prepare_root(options.store, undo));
  const std::string uri = TRY(master_uri(options.kms, create.store, root));
  const std::string keystore = options.keystore.empty() ? "" : TRY(absolute_path(options.keystore));
  create.path = keystore.empty() ? root + "/.coffer/keystore.db" : keystore;
  if (::access(create.path.c_str(), F_OK) == 0) {
    return Error{Code::kExists, 0,
                 "keystore " + create.path + " is there already; it may be another store's"};
  }

  const std::string key_file = uri.starts_with("local:") ? uri.substr(6) : "";
  const bool key_is_new = !key_file.empty() && ::access(key_file.c_str(), F_OK) != 0;
  const auto master = TRY(create_master(uri, passphrase_source(options.passphrase, uri)));
  if (key_is_new) undo.on_failure(key_file);

  for (const char* const directory : {"/.coffer", "/.coffer/journal", "/.coffer/tmp"}) {
    if (::mkdir((root + directory).c_str(), 0700) != 0)
      return errno_error(errno, "making " + root + directory);
    undo.on_failure(root + directory);
  }
  const Clock clock;
  TRY(Keyring::create(create, *master, clock));
  for (const char* const suffix : {"", "-wal", "-shm"}) undo.on_failure(create.path + suffix);
  SecretBytes secret;
  {
    const auto keyring =
        TRY(Keyring::open(create.path, Keyring::Access::kReadWrite, create.store, *master, clock));
    secret = TRY(keyring->scope_secret(kRootScope));
  }
  TRY(write_root_record(root, create.store, create.root_dir, secret,
                        create.names == NamesMode::kEncrypted));
  undo.on_failure(root + "/" + kDirectoryRecordName);
  // Last: a directory is a store once this is there.
  TRY(write_store_config(root, create.store, keystore));
  undo.all_went_well();

  std::printf("store      %s\n", root.c_str());
  std::printf("store id   %s\n", create.store.hex().c_str());
  std::printf("keystore   %s\n", create.path.c_str());
  std::printf("master key %s\n", master->describe().uri.c_str());
  if (!key_file.empty()) {
    std::fprintf(stderr,
                 "Keep a copy of the master key file in a safe place: without it the store can't "
                 "be read.\n");
  }
  std::fprintf(stderr, "Next: coffer import FILES %s, or coffer mount %s MOUNTPOINT\n",
               root.c_str(), root.c_str());
  return 0;
}

}  // namespace

void add_init_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb =
      *app.add_subcommand("init", "Make a store, with a root scope granted to whoever runs this");
  const auto options = std::make_shared<InitOptions>();
  verb.add_option("STORE", options->store, "A new or empty directory")->required();
  verb.add_option("--kms", options->kms,
                  "Where the master key lives: local:PATH, passphrase:, pkcs11:TOKEN-URI, tpm2:,\n"
                  "hcvault://HOST/MOUNT/keys/NAME, aws-kms://KEY-ARN, kmip://HOST/UID,\n"
                  "azure-kms://HOST/keys/NAME or\n"
                  "gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K");
  verb.add_option("--keystore", options->keystore, "Put the keystore here, not into the store");
  verb.add_option("--names", options->names, "encrypted or plain")->capture_default_str();
  verb.add_option("--sensitivity", options->sensitivity, "Of the root scope")
      ->capture_default_str();
  verb.add_option("--suite", options->suite, "Of the root scope: aes-256-gcm or chacha20-poly1305")
      ->capture_default_str();
  verb.add_option("--chunk-size", options->chunk_size, "Of the root scope: 4k to 1M")
      ->capture_default_str();
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, &chosen] { chosen.run = [options] { return init(*options); }; });
}

}  // namespace coffer
