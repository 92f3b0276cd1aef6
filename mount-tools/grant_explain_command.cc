#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/broker/explain_path.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/grant_text.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"
#include "mount-tools/caller_of.h"
#include "mount-tools/commands.h"

namespace coffer {
namespace {

using Json = nlohmann::ordered_json;

struct ExplainOptions {
  std::string store;
  std::string path;
  std::vector<std::string> rights;
  pid_t pid = 0;
  std::vector<std::string> selectors;
  bool json = false;
  PassphraseOptions passphrase;
};

constexpr const char* kBesides =
    "By grants alone: the file's mode and owner are checked besides, and its key has to be there.";

Result<Identity> identity_of(const ExplainOptions& options) {
  if ((options.pid != 0) != options.selectors.empty()) {
    return Error{Code::kInvalid, 0, "say who: --pid N, or --selector S once or more"};
  }
  if (options.pid != 0) {
    Identity resolved = resolve_identity(TRY(caller_of(options.pid)), Sources::all());
    if (!resolved.selectors.empty()) return resolved;
    return Error{Code::kNotFound, 0, "process " + std::to_string(options.pid) + " is gone"};
  }
  Identity identity;
  for (const std::string& text : options.selectors)
    identity.selectors.push_back(TRY(Selector::parse(text)));
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

/// What there is to say of a path, and the rows of the grants by which it is said.
struct Shown {
  const PathExplanation& explained;
  const PolicySnapshot& policy;
  const Identity& who;
  std::string path;
  bool strict;  ///< the scope it lies in
};

const GrantRow& row_of(const PolicySnapshot& policy, GrantId id) {
  return *std::find_if(policy.grants.begin(), policy.grants.end(),
                       [&](const GrantRow& row) { return row.id == id; });
}

/// All that keeps a grant from speaking of a request.
std::vector<std::string> obstacles(const GrantFinding& finding, Right right, const GrantRow& row) {
  std::vector<std::string> found;
  if (!finding.right_fits) {
    found.push_back((finding.deny ? "does not deny " : "does not give ") +
                    std::string(to_string(right)));
  }
  for (const Selector& selector : finding.failed) found.push_back("not " + selector.text());
  if (!finding.matches && finding.failed.empty()) found.emplace_back("an unknown caller");
  if (finding.lifetime == Lifetime::kRevoked)
    found.push_back("revoked " + format_time(*row.revoked_at));
  if (finding.lifetime == Lifetime::kExpired)
    found.push_back("expired " + format_time(*row.not_after));
  if (finding.lifetime == Lifetime::kNotYet)
    found.push_back("not before " + format_time(*row.not_before));
  return found;
}

std::string part_text(const GrantFinding& finding, const Decision& decision) {
  switch (finding.part) {
    case GrantFinding::Part::kDecides:
      return "decides";
    case GrantFinding::Part::kAgrees:
      return finding.deny ? "denies too" : "allows too";
    case GrantFinding::Part::kOutweighed:
      return decision.grant ? "outweighed by " + std::to_string(decision.grant->value)
                            : "outweighed";
    case GrantFinding::Part::kNone:
      break;
  }
  return "-";
}

void print_right(const Shown& shown, const PathExplanation::Asked& asked) {
  const Decision& decision = asked.explanation.decision;
  std::printf("%s: %s, %s%s\n", std::string(to_string(asked.right)).c_str(),
              decision.allowed ? "allowed" : "refused", std::string(decision.reason).c_str(),
              decision.grant ? (" (" + std::to_string(decision.grant->value) + ")").c_str() : "");
  if (asked.explanation.grants.empty()) return;
  std::vector<std::vector<std::string>> rows = {{"ID", "WHAT", "RIGHTS", "WHO", "PART", "WHY NOT"}};
  for (const GrantFinding& finding : asked.explanation.grants) {
    const GrantRow& row = row_of(shown.policy, finding.id);
    std::string why;
    for (const std::string& obstacle : obstacles(finding, asked.right, row))
      why += (why.empty() ? "" : "; ") + obstacle;
    rows.push_back({std::to_string(row.id.value), effect_text(row), to_string(Rights{row.rights}),
                    who_text(row), part_text(finding, decision), why.empty() ? "-" : why});
  }
  print_table(rows);
}

/// For scripts; they have the rest in fields of its own.
std::string_view part_name(GrantFinding::Part part) {
  switch (part) {
    case GrantFinding::Part::kDecides:
      return "decides";
    case GrantFinding::Part::kAgrees:
      return "agrees";
    case GrantFinding::Part::kOutweighed:
      return "outweighed";
    case GrantFinding::Part::kNone:
      break;
  }
  return "none";
}

std::string texts_of(const std::vector<Selector>& selectors) {
  std::vector<std::string> texts;
  for (const Selector& selector : selectors) texts.push_back(selector.text());
  return texts.empty() ? "nothing" : joined(texts);
}

void print_explanation(const Shown& shown) {
  const PathExplanation& explained = shown.explained;
  std::printf("%s lies in scope %s\n", printable(shown.path).c_str(),
              printable(explained.scope).c_str());
  if (shown.strict) {
    std::puts(
        "it is strict: who may not list it finds no names there, each use of what is open is "
        "decided anew, and nothing can be mapped");
  }
  std::printf("known of the caller: %s\n", printable(texts_of(shown.who.selectors)).c_str());
  for (const PathExplanation::Asked& asked : explained.asked) print_right(shown, asked);
  if (!explained.on_the_way_to.empty()) {
    std::printf("may be passed, not listed: on the way to %s\n",
                printable(joined(explained.on_the_way_to)).c_str());
  }
  if (explained.stop.has_value()) {
    std::printf("can't be reached: scope %s refuses to look up %s, %s\n",
                printable(explained.stop->scope).c_str(), printable(explained.stop->path).c_str(),
                std::string(explained.stop->decision.reason).c_str());
  }
  std::puts(kBesides);
}

Json decision_json(const Decision& decision) {
  Json json = {{"decision", decision.allowed ? "allow" : "deny"}, {"reason", decision.reason}};
  if (decision.grant) json["grant"] = decision.grant->value;
  return json;
}

Json right_json(const Shown& shown, const PathExplanation::Asked& asked) {
  Json json = {{"right", to_string(asked.right)}};
  json.update(decision_json(asked.explanation.decision));
  json["grants"] = Json::array();
  for (const GrantFinding& finding : asked.explanation.grants) {
    const GrantRow& row = row_of(shown.policy, finding.id);
    Json failed = Json::array();
    for (const Selector& selector : finding.failed) failed.push_back(selector.text());
    json["grants"].push_back({{"id", row.id.value},
                              {"effect", effect_text(row)},
                              {"part", part_name(finding.part)},
                              {"right_fits", finding.right_fits},
                              {"matches", finding.matches},
                              {"failed", std::move(failed)},
                              {"state", to_string(finding.lifetime)}});
  }
  return json;
}

Json explanation_json(const Shown& shown) {
  const PathExplanation& explained = shown.explained;
  Json selectors = Json::array();
  for (const Selector& selector : shown.who.selectors) selectors.push_back(selector.text());
  Json json = {{"path", shown.path},
               {"scope", explained.scope},
               {"strict", shown.strict},
               {"selectors", std::move(selectors)},
               {"decision", explained.allowed() ? "allow" : "deny"},
               {"rights", Json::array()}};
  for (const PathExplanation::Asked& asked : explained.asked)
    json["rights"].push_back(right_json(shown, asked));
  if (!explained.on_the_way_to.empty()) json["on_the_way_to"] = explained.on_the_way_to;
  if (explained.stop.has_value()) {
    json["stop"] = {{"path", explained.stop->path}, {"scope", explained.stop->scope}};
    json["stop"].update(decision_json(explained.stop->decision));
  }
  json["note"] = kBesides;
  return json;
}

Result<int> explain_grants(const ExplainOptions& options) {
  const std::string path = TRY(normalise_path(options.path));
  Rights wanted;
  for (const std::string& name : options.rights) wanted.add(TRY(right_from_name(name)));
  const Identity who = TRY(identity_of(options));
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const PolicySnapshot snapshot = TRY(session.keyring->policy());
  const Policy policy = TRY(Policy::from(snapshot));
  const auto explained = explain_path(policy, path, who, wanted, session.clock->unix_seconds());
  const Shown shown{.explained = explained,
                    .policy = snapshot,
                    .who = who,
                    .path = path,
                    .strict = policy.scope_containing(path).settings.flags.strict};
  if (options.json) {
    print_json(explanation_json(shown));
  } else {
    print_explanation(shown);
  }
  return explained.allowed() ? 0 : exit_code(explained.code());
}

}  // namespace

void add_grant_explain_command(CLI::App& grant, ChosenCommand& chosen) {
  CLI::App& verb = *grant.add_subcommand(
      "explain", "Say whether a process would get a path, by which grant, and why not by others");
  const auto options = std::make_shared<ExplainOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->path, "A path in the store; nothing need be there")->required();
  verb.add_option("--right", options->rights, "list, read or write; once or more")->required();
  verb.add_option("--pid", options->pid, "A running process")->check(CLI::PositiveNumber);
  verb.add_option("--selector", options->selectors,
                  "A fact that holds, as unix:uid:1000; no others do");
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "Touches no key and asks no mount. The exit code is 0 if it would be allowed; if not, 12, "
      "or\n"
      "13 or 14 where a grant was revoked or has expired.");
  verb.callback(
      [options, &chosen] { chosen.run = [options] { return explain_grants(*options); }; });
}

}  // namespace coffer
