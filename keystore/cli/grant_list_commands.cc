#include "keystore/cli/grant_list_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/access/grant.h"
#include "keystore/base/clock.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/grant_text.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

struct ListOptions {
  std::string store;
  std::string path;
  bool all = false;
  bool json = false;
  PassphraseOptions passphrase;
};

struct GrantShowOptions {
  std::string store;
  std::int64_t id = 0;
  bool json = false;
  PassphraseOptions passphrase;
};

Result<int> list_grants(const ListOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot policy = TRY(session.keyring->policy());
  const std::int64_t now = session.clock->unix_seconds();
  const std::string only = options.path.empty() ? "" : TRY(scope_root(policy, options.path));
  auto list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"ID", "SCOPE", "WHAT", "RIGHTS", "WHO", "STATE", "UNTIL", "PURPOSE"}};
  for (const GrantRow& grant : policy.grants) {
    const std::string scope = scope_path(policy, grant.scope);
    const Lifetime lifetime = lifetime_at(grant, now);
    const bool over = lifetime == Lifetime::kRevoked || lifetime == Lifetime::kExpired;
    if (!only.empty() && scope != only) continue;
    if (!options.all && !options.json && over) continue;
    rows.push_back({std::to_string(grant.id.value), scope, effect_text(grant),
                    to_string(Rights{grant.rights}), who_text(grant),
                    std::string(to_string(lifetime)),
                    grant.not_after ? format_time(*grant.not_after) : "-", grant.purpose});
    list.push_back(grant_json(grant, policy, now));
  }
  if (options.json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return 0;
}

/// "expired 2026-11-22T18:00:00Z": with the moment that made it so.
std::string state_text(const GrantRow& grant, std::int64_t now) {
  const Lifetime lifetime = lifetime_at(grant, now);
  std::string text(to_string(lifetime));
  if (lifetime == Lifetime::kRevoked) text += " " + format_time(*grant.revoked_at);
  if (lifetime == Lifetime::kExpired) text += " " + format_time(*grant.not_after);
  return text;
}

Result<int> show_grant(const GrantShowOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot policy = TRY(session.keyring->policy());
  const std::int64_t now = session.clock->unix_seconds();
  const auto grant =
      std::find_if(policy.grants.begin(), policy.grants.end(),
                   [&](const GrantRow& row) { return row.id == GrantId{options.id}; });
  if (grant == policy.grants.end()) {
    return Error{Code::kNotFound, 0,
                 "there is no grant " + std::to_string(options.id) +
                     "; see: coffer grant list --all " + options.store};
  }
  if (options.json) {
    print_json(grant_json(*grant, policy, now));
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"grant", std::to_string(grant->id.value)},
                                                {"scope", scope_path(policy, grant->scope)},
                                                {"what", effect_text(*grant)},
                                                {"rights", to_string(Rights{grant->rights})}};
  // One a line: each has to hold, and some are long.
  if (grant->everyone) rows.push_back({"who", "everyone"});
  for (const std::string& selector : grant->selectors)
    rows.push_back({selector == grant->selectors.front() ? "who" : "and", selector});
  rows.push_back({"state", state_text(*grant, now)});
  rows.push_back({"from", grant->not_before ? format_time(*grant->not_before) : "-"});
  rows.push_back({"until", grant->not_after ? format_time(*grant->not_after) : "-"});
  rows.push_back({"purpose", grant->purpose.empty() ? "-" : grant->purpose});
  rows.push_back({"created", format_time(grant->created_at)});
  rows.push_back({"created by", grant->created_by});
  print_table(rows);
  return 0;
}

}  // namespace

void add_grant_list_command(CLI::App& grant, ChosenCommand& chosen) {
  const auto options = std::make_shared<ListOptions>();
  CLI::App& list = *grant.add_subcommand("list", "List grants");
  list.add_option("STORE", options->store, "The store's directory")->required();
  list.add_option("PATH", options->path, "Only those of this scope");
  list.add_flag("--all", options->all, "Revoked and expired ones too");
  list.add_flag("--json", options->json, "As JSON, all of them");
  add_passphrase_options(list, options->passphrase, chosen);
  list.callback([options, &chosen] { chosen.run = [options] { return list_grants(*options); }; });
}

void add_grant_show_command(CLI::App& grant, ChosenCommand& chosen) {
  const auto options = std::make_shared<GrantShowOptions>();
  CLI::App& show = *grant.add_subcommand("show", "Show one grant");
  show.add_option("STORE", options->store, "The store's directory")->required();
  show.add_option("ID", options->id, "The grant's id")->required();
  show.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(show, options->passphrase, chosen);
  show.callback([options, &chosen] { chosen.run = [options] { return show_grant(*options); }; });
}

}  // namespace coffer
