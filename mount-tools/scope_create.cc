#include "mount-tools/scope_create.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fs/names/scope_names.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"
#include "keystore/crypto/random.h"
#include "mount-tools/commands.h"
#include "mount-tools/control.h"
#include "mount-tools/tree.h"

namespace coffer {
namespace {

constexpr mode_t kScopeRootMode = 0755;

struct ScopeCreateOptions {
  std::string store;
  std::string path;
  std::string sensitivity = "internal";
  std::string suite = "aes-256-gcm";
  std::string wrap = "kek";
  std::string retention = "7d";
  std::string chunk_size = "4k";
  ScopeFlags flags = {};
  PassphraseOptions passphrase;
};

Result<ScopeSettings> settings_from(const ScopeCreateOptions& options) {
  ScopeSettings settings;
  settings.sensitivity = TRY(sensitivity_from_name(options.sensitivity));
  settings.suite = TRY(suite_from_name(options.suite));
  settings.wrap = TRY(wrap_from_name(options.wrap));
  settings.retention_s = TRY(parse_duration(options.retention));
  settings.chunk_log2 = TRY(parse_chunk_size(options.chunk_size));
  settings.flags = options.flags;
  return settings;
}

nlohmann::ordered_json to_request(const ScopeCreateOptions& options) {
  return {{"verb", "scope-create"},
          {"path", options.path},
          {"sensitivity", options.sensitivity},
          {"suite", options.suite},
          {"wrap", options.wrap},
          {"retention", options.retention},
          {"chunk_size", options.chunk_size},
          {"strict", options.flags.strict},
          {"purge", options.flags.purge}};
}

Result<ScopeCreateOptions> from_request(const std::string& line) {
  const auto request = nlohmann::json::parse(line, nullptr, false);
  if (!request.is_object()) return Error{Code::kInvalid, 0, "malformed request"};
  ScopeCreateOptions options;
  for (auto& [name, field] : {std::pair<const char*, std::string*>{"path", &options.path},
                              {"sensitivity", &options.sensitivity},
                              {"suite", &options.suite},
                              {"wrap", &options.wrap},
                              {"retention", &options.retention},
                              {"chunk_size", &options.chunk_size}}) {
    if (!request.contains(name) || !request[name].is_string()) {
      return Error{Code::kInvalid, 0, std::string("malformed request: ") + name};
    }
    *field = request[name].get<std::string>();
  }
  for (auto& [name, field] : {std::pair<const char*, bool*>{"strict", &options.flags.strict},
                              {"purge", &options.flags.purge}}) {
    if (!request.contains(name) || !request[name].is_boolean())
      return Error{Code::kInvalid, 0, std::string("malformed request: ") + name};
    *field = request[name].get<bool>();
  }
  return options;
}

/// The answer of a mount, turned back into what create_scope would have given.
Result<void> from_answer(const std::string& line) {
  const auto answer = nlohmann::json::parse(line, nullptr, false);
  if (!answer.is_object()) return Error{Code::kIo, 0, "the mount's answer was not understood"};
  if (!answer.contains("error")) return {};
  return Error{static_cast<Code>(answer.value("code", static_cast<int>(Code::kIo))), 0,
               answer.value("error", std::string("the mount refused"))};
}

Result<int> scope_create(ScopeCreateOptions options) {
  options.path = TRY(normalise_path(options.path));
  const ScopeSettings settings = TRY(settings_from(options));
  const StoreConfig config = TRY(read_store_config(options.store));
  // The one who writes makes it: the mount if there is one.
  if (const std::string control = StoreLock::holder_control(config.private_dir());
      !control.empty()) {
    TRY(from_answer(TRY(ask_mount(control, json_line(to_request(options))))));
  } else {
    OpenStore::Options open;
    open.root = options.store;
    open.purpose = "coffer scope create";
    open.passphrase = options.passphrase;
    const auto store = TRY(OpenStore::open(open));
    TRY(create_scope(*store, options.path, settings, Caller::self()));
  }
  std::fprintf(stderr,
               "Nobody is granted anything in it yet. Next: coffer grant add %s %s --selector "
               "unix:uid:N --right read\n",
               options.store.c_str(), options.path.c_str());
  return 0;
}

}  // namespace

Result<ScopeId> create_scope(OpenStore& store, const std::string& path,
                             const ScopeSettings& settings, const Caller& caller) {
  if (path == "/")
    return Error{Code::kExists, 0,
                 "the root scope is there already; see: coffer scope show STORE /"};
  const Who who = store.vfs().who(caller);
  const auto split = split_path(path);
  const std::string& name = split.second;
  const Found parent = TRY(find_path(store.vfs(), who, split.first));
  if (const auto there = store.vfs().lookup(who, parent.inode.get(), name)) {
    store.vfs().forget(there->inode, 1);
    return Error{Code::kExists, 0,
                 path +
                     " is there already; a scope begins with a new directory: move what is there "
                     "away, make the scope, move it in"};
  }
  DirId root_dir;
  random_bytes(root_dir.bytes);
  Keyring& keyring = *store.session().keyring;
  const ScopeId id = TRY(keyring.add_scope(path, root_dir, settings));
  const auto make_directory = [&]() -> Result<void> {
    TRY(store.broker().reload());
    const bool encrypted = TRY(store.broker().policy())->names() == NamesMode::kEncrypted;
    const ScopeNames names(TRY(keyring.scope_secret(id)), keyring.store(), id, encrypted);
    const Entry made = TRY(store.vfs().make_scope_root(who, parent.inode.get(), name, names,
                                                       root_dir, kScopeRootMode));
    store.vfs().forget(made.inode, 1);
    return {};
  };
  if (auto made = make_directory(); !made) {
    (void)keyring.remove_scope(id);
    (void)store.broker().reload();
    return std::move(made).error();
  }
  TRY(store.broker().note("admin", who.identity(), path, "scope create"));
  return id;
}

std::string serve_scope_create(OpenStore& store, const std::string& request, const Caller& caller) {
  const auto create = [&]() -> Result<ScopeId> {
    const auto pass = TRY(store.vfs().enter(Gate::Way::kNew));
    const ScopeCreateOptions options = TRY(from_request(request));
    return create_scope(store, TRY(normalise_path(options.path)), TRY(settings_from(options)),
                        caller);
  };
  const auto created = create();
  nlohmann::ordered_json answer;
  if (created) {
    answer["scope"] = created->value;
  } else {
    answer["error"] = created.error().message();
    answer["code"] = static_cast<int>(created.error().code);
  }
  return json_line(answer);
}

void add_scope_create_command(CLI::App& scope, ChosenCommand& chosen) {
  CLI::App& verb = *scope.add_subcommand("create", "Make a directory the root of a new scope");
  const auto options = std::make_shared<ScopeCreateOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->path, "Of the directory to make, in the store")->required();
  verb.add_option("--sensitivity", options->sensitivity,
                  "public, internal, confidential or restricted")
      ->capture_default_str();
  verb.add_option("--suite", options->suite, "aes-256-gcm or chacha20-poly1305")
      ->capture_default_str();
  verb.add_option("--wrap", options->wrap,
                  "kek, or direct: each file's key by the master key itself")
      ->capture_default_str();
  verb.add_option("--retention", options->retention, "How long a deleted file's key is kept")
      ->capture_default_str();
  verb.add_option("--chunk-size", options->chunk_size, "4k to 1M")->capture_default_str();
  verb.add_flag("--strict", options->flags.strict, kStrictHelp);
  verb.add_flag("--purge", options->flags.purge, kPurgeHelp);
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, &chosen] { chosen.run = [options] { return scope_create(*options); }; });
}

}  // namespace coffer
