#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/access/grant.h"
#include "keystore/base/clock.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/grant_list_commands.h"
#include "keystore/cli/grant_text.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

struct AddOptions {
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
  bool json = false;
  PassphraseOptions passphrase;
};

struct RevokeOptions {
  std::string store;
  std::int64_t id = 0;
  PassphraseOptions passphrase;
};

Result<GrantRow> grant_from(const AddOptions& options, const Policy& policy, std::int64_t now) {
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
    const std::string selector = TRY(Selector::parse(text)).text();
    // Said twice it holds no less.
    if (std::find(grant.selectors.begin(), grant.selectors.end(), selector) ==
        grant.selectors.end()) {
      grant.selectors.push_back(selector);
    }
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

Result<int> add_grant(const AddOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  const Policy policy = TRY(Policy::from(TRY(session.keyring->policy())));
  const GrantRow grant = TRY(grant_from(options, policy, session.clock->unix_seconds()));
  const GrantId id = TRY(session.keyring->add_grant(grant));
  TRY(session.note(policy.scope(grant.scope)->path,
                   "grant add " + std::to_string(id.value) + (grant.deny ? " deny " : " ") +
                       to_string(Rights{grant.rights}) + " " + who_text(grant)));
  if (options.json) {
    std::puts(nlohmann::ordered_json{{"grant", id.value}}.dump().c_str());
  } else {
    std::printf("%lld\n", static_cast<long long>(id.value));
  }
  return 0;
}

Result<int> revoke_grant(const RevokeOptions& options) {
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

void add_add_command(CLI::App& grant, ChosenCommand& chosen) {
  const auto options = std::make_shared<AddOptions>();
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
  add_passphrase_options(add, options->passphrase, chosen);
  add.callback([options, &chosen] { chosen.run = [options] { return add_grant(*options); }; });
}

void add_revoke_command(CLI::App& grant, ChosenCommand& chosen) {
  const auto options = std::make_shared<RevokeOptions>();
  CLI::App& revoke = *grant.add_subcommand("revoke", "Revoke a grant");
  revoke.add_option("STORE", options->store, "The store's directory")->required();
  revoke.add_option("ID", options->id, "The grant's id")->required();
  add_passphrase_options(revoke, options->passphrase, chosen);
  revoke.callback(
      [options, &chosen] { chosen.run = [options] { return revoke_grant(*options); }; });
}

}  // namespace

void add_grant_commands(CLI::App& grant, ChosenCommand& chosen) {
  add_add_command(grant, chosen);
  add_grant_list_command(grant, chosen);
  add_grant_show_command(grant, chosen);
  add_revoke_command(grant, chosen);
}

}  // namespace coffer
