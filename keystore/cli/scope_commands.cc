#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

struct ScopeOptions {
  std::string store;
  std::string path;
  bool json = false;
  PassphraseOptions passphrase;
};

struct ScopeSetOptions {
  ScopeOptions scope;
  bool strict = false;
  bool purge = false;
  // Which of them were given.
  CLI::Option* strict_given = nullptr;
  CLI::Option* purge_given = nullptr;
};

/// "strict,purge"; "-" if there are none.
std::string flags_text(ScopeFlags flags) {
  std::string text = flags.strict ? "strict" : "";
  if (flags.purge) text += text.empty() ? "purge" : ",purge";
  return text.empty() ? "-" : text;
}

nlohmann::ordered_json scope_json(const ScopeRow& scope) {
  return {{"path", scope.path},
          {"id", scope.id.value},
          {"sensitivity", to_string(scope.settings.sensitivity)},
          {"suite", to_string(scope.settings.suite)},
          {"chunk_size", std::uint64_t{1} << scope.settings.chunk_log2},
          {"wrap", to_string(scope.settings.wrap)},
          {"retention_s", scope.settings.retention_s},
          {"strict", scope.settings.flags.strict},
          {"purge", scope.settings.flags.purge},
          {"state", to_string(scope.state)},
          {"kek_version", scope.kek_version.value},
          {"created", format_time(scope.created_at)}};
}

Result<int> list_scopes(const ScopeOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot policy = TRY(session.keyring->policy());
  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const ScopeRow& scope : policy.scopes) list.push_back(scope_json(scope));
    print_json(list);
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {
      {"SCOPE", "SENSITIVITY", "SUITE", "WRAP", "FLAGS", "KEK", "GRANTS", "CREATED"}};
  for (const ScopeRow& scope : policy.scopes) {
    std::size_t grants = 0;
    for (const GrantRow& grant : policy.grants)
      grants += grant.scope == scope.id && !grant.revoked_at ? 1 : 0;
    rows.push_back({scope.path, std::string(to_string(scope.settings.sensitivity)),
                    std::string(to_string(scope.settings.suite)),
                    std::string(to_string(scope.settings.wrap)), flags_text(scope.settings.flags),
                    "v" + std::to_string(scope.kek_version.value), std::to_string(grants),
                    format_time(scope.created_at)});
  }
  print_table(rows);
  return 0;
}

Result<int> show_scope(const ScopeOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot snapshot = TRY(session.keyring->policy());
  const std::string path = TRY(scope_root(snapshot, options.path));
  const auto scope = std::find_if(snapshot.scopes.begin(), snapshot.scopes.end(),
                                  [&](const ScopeRow& row) { return row.path == path; });
  if (options.json) {
    print_json(scope_json(*scope));
    return 0;
  }
  print_table({{"scope", scope->path},
               {"sensitivity", std::string(to_string(scope->settings.sensitivity))},
               {"suite", std::string(to_string(scope->settings.suite))},
               {"chunk size", format_bytes(std::uint64_t{1} << scope->settings.chunk_log2)},
               {"wrap", std::string(to_string(scope->settings.wrap))},
               {"retention", format_duration(scope->settings.retention_s)},
               {"flags", flags_text(scope->settings.flags)},
               {"state", std::string(to_string(scope->state))},
               {"KEK", "v" + std::to_string(scope->kek_version.value)},
               {"created", format_time(scope->created_at)}});
  return 0;
}

Result<int> set_scope(const ScopeSetOptions& options) {
  const bool set_strict = options.strict_given->count() > 0;
  const bool set_purge = options.purge_given->count() > 0;
  if (!set_strict && !set_purge) {
    return Error{Code::kInvalid, 0,
                 "nothing to set; give --strict, --no-strict, --purge or --no-purge"};
  }
  const auto session = TRY(KeystoreSession::open(options.scope.store, Keyring::Access::kReadWrite,
                                                 options.scope.passphrase));
  const PolicySnapshot snapshot = TRY(session.keyring->policy());
  const std::string path = TRY(scope_root(snapshot, options.scope.path));
  const auto scope = std::find_if(snapshot.scopes.begin(), snapshot.scopes.end(),
                                  [&](const ScopeRow& row) { return row.path == path; });
  ScopeFlags flags = scope->settings.flags;
  if (set_strict) flags.strict = options.strict;
  if (set_purge) flags.purge = options.purge;
  TRY(session.keyring->set_scope_flags(scope->id, flags));
  TRY(session.note(path, "scope set flags " + flags_text(flags)));
  return 0;
}

void add_set_command(CLI::App& scope, ChosenCommand& chosen) {
  const auto options = std::make_shared<ScopeSetOptions>();
  CLI::App& set = *scope.add_subcommand("set", "Change what may be changed of a scope");
  set.add_option("STORE", options->scope.store, "The store's directory")->required();
  set.add_option("PATH", options->scope.path, "The scope's path in the store")->required();
  options->strict_given = set.add_flag("--strict,!--no-strict", options->strict, kStrictHelp);
  options->purge_given = set.add_flag("--purge,!--no-purge", options->purge, kPurgeHelp);
  add_passphrase_options(set, options->scope.passphrase, chosen);
  set.callback([options, &chosen] { chosen.run = [options] { return set_scope(*options); }; });
}

}  // namespace

Result<std::string> scope_root(const PolicySnapshot& snapshot, const std::string& given) {
  const Policy policy = TRY(Policy::from(snapshot));
  const std::string path = TRY(normalise_path(given));
  if (policy.scope_at(path) != nullptr) return path;
  return Error{Code::kNotFound, 0,
               "no scope has its root at " + path + "; it lies in scope " +
                   policy.scope_containing(path).path};
}

std::string scope_path(const PolicySnapshot& snapshot, ScopeId id) {
  for (const ScopeRow& scope : snapshot.scopes) {
    if (scope.id == id) return scope.path;
  }
  return "?";
}

void add_passphrase_options(CLI::App& verb, PassphraseOptions& options,
                            const ChosenCommand& chosen) {
  options.pin = chosen.pin;
  verb.add_option("--passphrase-file", options.file,
                  "Read the passphrase from the first line of FILE");
  verb.add_option("--passphrase-fd", options.fd, "Read the passphrase from descriptor N");
}

void add_scope_commands(CLI::App& scope, ChosenCommand& chosen) {
  const auto options = std::make_shared<ScopeOptions>();
  CLI::App& list = *scope.add_subcommand("list", "List the scopes of a store");
  list.add_option("STORE", options->store, "The store's directory")->required();
  list.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(list, options->passphrase, chosen);
  list.callback([options, &chosen] { chosen.run = [options] { return list_scopes(*options); }; });

  CLI::App& show = *scope.add_subcommand("show", "Show one scope");
  show.add_option("STORE", options->store, "The store's directory")->required();
  show.add_option("PATH", options->path, "The scope's path in the store")->required();
  show.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(show, options->passphrase, chosen);
  show.callback([options, &chosen] { chosen.run = [options] { return show_scope(*options); }; });

  add_set_command(scope, chosen);
}

}  // namespace coffer
