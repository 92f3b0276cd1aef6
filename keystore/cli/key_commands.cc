#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

struct KeyOptions {
  std::string store;
  std::string scope;
  bool files = false;
  bool json = false;
  PassphraseOptions passphrase;
};

nlohmann::ordered_json key_json(const KeyRow& key, const PolicySnapshot& policy) {
  return {{"file", key.file.hex()},
          {"version", key.version.value},
          {"scope", scope_path(policy, key.scope)},
          {"state", to_string(key.state)},
          {"wrapped_by",
           key.kek_version.value == 0 ? "master" : "kek v" + std::to_string(key.kek_version.value)},
          {"generation", key.generation},
          {"created", format_time(key.created_at)},
          {"changed", format_time(key.changed_at)}};
}

/// KEKs with the number of DEKs under each, by state.
Result<int> list_keks(Keyring& keyring, const KeyOptions& options, const PolicySnapshot& policy) {
  struct Count {
    std::uint64_t active = 0;
    std::uint64_t other = 0;
  };
  std::map<std::pair<ScopeId, KeyVersion>, Count> counts;
  TRY(keyring.visit_keys([&](const KeyRow& key) {
    Count& count = counts[{key.scope, key.kek_version}];
    ++(key.state == KeyState::kActive ? count.active : count.other);
    return true;
  }));
  auto list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"SCOPE", "KEK", "STATE", "FILES", "OTHER KEYS", "CREATED"}};
  for (const KekRow& kek : TRY(keyring.keks())) {
    const std::string path = scope_path(policy, kek.scope);
    if (!options.scope.empty() && path != options.scope) continue;
    const Count count = counts[{kek.scope, kek.version}];
    rows.push_back({path, "v" + std::to_string(kek.version.value),
                    std::string(to_string(kek.state)), std::to_string(count.active),
                    std::to_string(count.other), format_time(kek.created_at)});
    list.push_back({{"scope", path},
                    {"kek", kek.version.value},
                    {"state", to_string(kek.state)},
                    {"files", count.active},
                    {"other_keys", count.other},
                    {"created", format_time(kek.created_at)}});
  }
  if (options.json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return 0;
}

Result<int> list_file_keys(Keyring& keyring, const KeyOptions& options,
                           const PolicySnapshot& policy) {
  if (!options.json) std::puts("FILE                              VERSION  STATE           SCOPE");
  bool first = true;
  TRY(keyring.visit_keys([&](const KeyRow& key) {
    const std::string path = scope_path(policy, key.scope);
    if (!options.scope.empty() && path != options.scope) return true;
    if (options.json) {
      // Line by line: there may be millions.
      std::printf("%s%s", first ? "[\n  " : ",\n  ", json_line(key_json(key, policy)).c_str());
    } else {
      std::printf("%s  %7u  %-14s  %s\n", key.file.hex().c_str(), key.version.value,
                  std::string(to_string(key.state)).c_str(), path.c_str());
    }
    first = false;
    return true;
  }));
  if (options.json) std::puts(first ? "[]" : "\n]");
  return 0;
}

Result<int> list_keys(const KeyOptions& given) {
  KeyOptions options = given;
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot policy = TRY(session.keyring->policy());
  if (!options.scope.empty()) options.scope = TRY(scope_root(policy, options.scope));
  if (options.files) return list_file_keys(*session.keyring, options, policy);
  return list_keks(*session.keyring, options, policy);
}

}  // namespace

void print_key(const KeyRow& key, const PolicySnapshot& policy, bool json) {
  if (json) {
    print_json(key_json(key, policy));
    return;
  }
  print_table(
      {{"file", key.file.hex()},
       {"DEK", "v" + std::to_string(key.version.value)},
       {"scope", scope_path(policy, key.scope)},
       {"state", std::string(to_string(key.state))},
       {"wrapped by", key.kek_version.value == 0 ? "the master key"
                                                 : "KEK v" + std::to_string(key.kek_version.value)},
       {"generation", std::to_string(key.generation)},
       {"created", format_time(key.created_at)},
       {"changed", format_time(key.changed_at)}});
}

void add_key_commands(CLI::App& key, ChosenCommand& chosen) {
  const auto options = std::make_shared<KeyOptions>();
  CLI::App& list =
      *key.add_subcommand("list", "List the KEKs of a store, or the DEKs of its files");
  list.add_option("STORE", options->store, "The store's directory")->required();
  list.add_option("--scope", options->scope, "Only those of the scope at this path");
  list.add_flag("--files", options->files, "The DEK of each file");
  list.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(list, options->passphrase, chosen);
  list.callback([options, &chosen] { chosen.run = [options] { return list_keys(*options); }; });
}

}  // namespace coffer
