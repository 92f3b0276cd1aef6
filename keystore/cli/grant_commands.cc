#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/access/grant.h"
#include "keystore/base/clock.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

struct GrantOptions {
  std::string store;
  std::string path;
  std::vector<std::string> selectors;
  bool everyone = false;
  std::vector<std::string> rights;
  std::string ttl;
  std::string not_before;
  std::string not_after;
  std::string purpose;
  bool deny = false;
  std::int64_t id = 0;
  bool all = false;
  bool json = false;
  PassphraseOptions passphrase;
};

std::string rights_text(std::uint8_t bits) {
  std::string text;
  for (const Right right : {Right::kList, Right::kRead, Right::kWrite}) {
    if (!Rights{bits}.contains(right)) continue;
    if (!text.empty()) text += ",";
    text += to_string(right);
  }
  return text;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

std::string_view state_of(const GrantRow& grant, std::int64_t now) {
  if (grant.revoked_at) return "revoked";
  if (grant.not_after && now >= *grant.not_after) return "expired";
  if (grant.not_before && now < *grant.not_before) return "not yet";
  return "active";
}

std::string scope_path(const PolicySnapshot& policy, ScopeId id) {
  for (const ScopeRow& scope : policy.scopes) {
    if (scope.id == id) return scope.path;
  }
  return "?";
}

Result<GrantRow> grant_from(const GrantOptions& options, const Policy& policy, std::int64_t now) {
  GrantRow grant;
  const std::string path = TRY(normalise_path(options.path));
  const ScopeRow* const scope = policy.scope_at(path);
  if (scope == nullptr) {
    return Error{Code::kNotFound, 0,
                 path + " is not the root of a scope, but lies in scope " +
                     policy.scope_containing(path).path +
                     "; grant that, or make one with: coffer scope create"};
  }
  grant.scope = scope->id;
  grant.deny = options.deny;
  grant.everyone = options.everyone;
  if (options.everyone != options.selectors.empty()) {
    return Error{Code::kInvalid, 0, "say who: --selector S, once or more, or --everyone"};
  }
  for (const std::string& text : options.selectors) {
    grant.selectors.push_back(TRY(Selector::parse(text)).text());
  }
  Rights rights;
  for (const std::string& name : options.rights) rights.add(TRY(right_from_name(name)));
  grant.rights = rights.bits;
  if (!options.not_before.empty()) grant.not_before = TRY(parse_time(options.not_before));
  if (!options.not_after.empty()) grant.not_after = TRY(parse_time(options.not_after));
  if (!options.ttl.empty()) {
    if (grant.not_after)
      return Error{Code::kInvalid, 0, "--ttl and --not-after say the same thing; give one"};
    grant.not_after = now + TRY(parse_duration(options.ttl));
  }
  if (grant.not_after && *grant.not_after <= std::max(now, grant.not_before.value_or(now))) {
    return Error{Code::kInvalid, 0, "the grant would be over before it begins"};
  }
  grant.purpose = options.purpose;
  grant.created_by = "unix:uid:" + std::to_string(::geteuid());
  return grant;
}

Result<int> add_grant(const GrantOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  const Policy policy = TRY(Policy::from(TRY(session.keyring->policy())));
  const GrantRow grant = TRY(grant_from(options, policy, session.clock->unix_seconds()));
  const GrantId id = TRY(session.keyring->add_grant(grant));
  TRY(session.note(policy.scope(grant.scope)->path,
                   "grant add " + std::to_string(id.value) + (grant.deny ? " deny " : " ") +
                       rights_text(grant.rights) + " " +
                       (grant.everyone ? "everyone" : joined(grant.selectors))));
  if (options.json) {
    std::puts(nlohmann::ordered_json{{"grant", id.value}}.dump().c_str());
  } else {
    std::printf("%lld\n", static_cast<long long>(id.value));
  }
  return 0;
}

Result<int> list_grants(const GrantOptions& options) {
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
    const std::string_view state = state_of(grant, now);
    if (!only.empty() && scope != only) continue;
    if (!options.all && !options.json && (state == "revoked" || state == "expired")) continue;
    const std::string who = grant.everyone ? "everyone" : joined(grant.selectors);
    const std::string until = grant.not_after ? format_time(*grant.not_after) : "";
    rows.push_back({std::to_string(grant.id.value), scope, grant.deny ? "deny" : "allow",
                    rights_text(grant.rights), who, std::string(state), until.empty() ? "-" : until,
                    grant.purpose});
    nlohmann::ordered_json row = {{"id", grant.id.value},
                                  {"scope", scope},
                                  {"effect", grant.deny ? "deny" : "allow"},
                                  {"rights", rights_text(grant.rights)},
                                  {"everyone", grant.everyone},
                                  {"selectors", grant.selectors},
                                  {"state", state},
                                  {"purpose", grant.purpose},
                                  {"created", format_time(grant.created_at)},
                                  {"created_by", grant.created_by}};
    if (grant.not_before) row["not_before"] = format_time(*grant.not_before);
    if (grant.not_after) row["not_after"] = until;
    if (grant.revoked_at) row["revoked"] = format_time(*grant.revoked_at);
    list.push_back(std::move(row));
  }
  if (options.json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return 0;
}

Result<int> revoke_grant(const GrantOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  if (auto revoked = session.keyring->revoke_grant(GrantId{options.id}); !revoked) {
    Error error = std::move(revoked).error();
    if (error.code == Code::kNotFound)
      error.context += "; see: coffer grant list --all " + options.store;
    return error;
  }
  TRY(session.note("", "grant revoke " + std::to_string(options.id)));
  return 0;
}

}  // namespace

void add_grant_commands(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& grant = *app.add_subcommand("grant", "Say which processes may use a scope");
  grant.require_subcommand(1);
  const auto options = std::make_shared<GrantOptions>();

  CLI::App& add =
      *grant.add_subcommand("add", "Grant rights in a scope, or deny them; prints the grant's id");
  add.add_option("STORE", options->store, "The store's directory")->required();
  add.add_option("PATH", options->path, "The scope's path in the store")->required();
  add.add_option("--selector", options->selectors,
                 "A fact that has to hold, as unix:uid:1000; all given have to");
  add.add_flag("--everyone", options->everyone, "Any process that is known at all");
  add.add_option("--right", options->rights, "list, read or write; once or more")->required();
  add.add_option("--ttl", options->ttl, "For how long, as 8h");
  add.add_option("--not-before", options->not_before, "From when on, as 2026-12-31T18:00:00Z");
  add.add_option("--not-after", options->not_after, "Until when");
  add.add_option("--purpose", options->purpose, "What for; shown in listings");
  add.add_flag("--deny", options->deny, "Deny: outweighs every grant");
  add.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(add, options->passphrase);
  add.callback([options, &chosen] { chosen.run = [options] { return add_grant(*options); }; });

  CLI::App& list = *grant.add_subcommand("list", "List grants");
  list.add_option("STORE", options->store, "The store's directory")->required();
  list.add_option("PATH", options->path, "Only those of this scope");
  list.add_flag("--all", options->all, "Revoked and expired ones too");
  list.add_flag("--json", options->json, "As JSON, all of them");
  add_passphrase_options(list, options->passphrase);
  list.callback([options, &chosen] { chosen.run = [options] { return list_grants(*options); }; });

  CLI::App& revoke = *grant.add_subcommand("revoke", "Revoke a grant");
  revoke.add_option("STORE", options->store, "The store's directory")->required();
  revoke.add_option("ID", options->id, "The grant's id")->required();
  add_passphrase_options(revoke, options->passphrase);
  revoke.callback(
      [options, &chosen] { chosen.run = [options] { return revoke_grant(*options); }; });
}

}  // namespace coffer
