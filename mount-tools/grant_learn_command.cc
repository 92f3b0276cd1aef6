#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "keystore/access/proposal.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/grant_text.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/line_tail.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/request_line.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"
#include "mount-tools/control.h"

namespace coffer {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kLongest = 24 * 3600;
constexpr timespec kLookInterval{.tv_sec = 0, .tv_nsec = 200'000'000};

struct LearnOptions {
  std::string store;
  std::string path;
  std::string watch;
  std::string since;
  std::vector<std::string> rights;
  std::vector<std::string> without;
  std::string log;
  bool on_the_way = false;
  bool all = false;
  bool json = false;
  PassphraseOptions passphrase;
};

/// The same as numbers, checked.
struct Bounds {
  std::int64_t watch_s = 0;
  std::optional<std::int64_t> since;
  Rights rights;
};

Result<Bounds> bounds_of(const LearnOptions& options) {
  Bounds bounds;
  if (options.watch.empty() && options.since.empty()) {
    return Error{Code::kInvalid, 0,
                 "say how long to watch: --for 10m; or from when on to look back: --since TIME"};
  }
  if (!options.watch.empty()) {
    bounds.watch_s = TRY(parse_duration(options.watch));
    if (bounds.watch_s <= 0 || bounds.watch_s > kLongest)
      return Error{Code::kInvalid, 0, "--for is from 1s to 24h"};
  }
  if (!options.since.empty()) bounds.since = TRY(parse_time(options.since));
  for (const std::string& name : options.rights) bounds.rights.add(TRY(right_from_name(name)));
  if (options.rights.empty()) bounds.rights = Rights{7};
  return bounds;
}

/// What the log says of one scope. Different requests are kept once: a day may have millions.
class Seen {
 public:
  Seen(const Bounds& bounds, std::string store, std::string scope, bool on_the_way)
      : rights_(bounds.rights),
        since_(bounds.since.has_value() ? format_time(*bounds.since).substr(0, kSeconds) : ""),
        store_(std::move(store)),
        scope_(std::move(scope)),
        on_the_way_(on_the_way) {}

  void add(std::string_view text) {
    auto line = parse_request_line(text);
    if (!line || line->store != store_ || line->time.substr(0, kSeconds) < since_) return;
    if (line->scope == scope_) {
      note(line->request);
    } else if (!line->allowed && leads_here(line->path) &&
               line->request.rights == Rights::of(Right::kList)) {
      ++refused_above_;
      // A scope that may be listed may be walked to.
      line->request.refused_by.reset();
      if (on_the_way_) note(line->request);
    }
  }

  [[nodiscard]] std::size_t requests() const { return requests_; }
  /// Names above the scope, or its own, that somebody could not look up.
  [[nodiscard]] std::size_t refused_above() const { return refused_above_; }
  [[nodiscard]] std::vector<Observation> observations() const {
    return {observations_.begin(), observations_.end()};
  }

 private:
  static constexpr std::size_t kSeconds = 19;  // "2026-11-22T18:00:00"

  [[nodiscard]] bool leads_here(const std::string& path) const {
    return path == "/" || path == scope_ || scope_.starts_with(path + "/");
  }

  void note(Observation observation) {
    observation.rights.bits &= rights_.bits;
    if (observation.rights.bits == 0) return;
    ++requests_;
    observations_.insert(std::move(observation));
  }

  const Rights rights_;
  const std::string since_;
  const std::string store_;
  const std::string scope_;
  const bool on_the_way_;
  std::set<Observation> observations_;
  std::size_t requests_ = 0;
  std::size_t refused_above_ = 0;
};

/// Reads the log for as long as was asked for, or until somebody wants it to end.
/// This user's mounts of the store say more of callers in the log for a while. One of another user
/// says no more than its grants ask for.
void have_mounts_tell_more(const std::string& store) {
  for (const std::string& path : control_paths()) {
    const auto answer = ask_mount(path, R"({"verb":"status"})");
    const auto status = answer ? Json::parse(*answer, nullptr, false) : Json();
    if (status.is_object() && status.value("store_id", "") == store)
      (void)ask_mount(path, R"({"verb":"learn"})");
  }
}

Result<void> watch(LineTail& tail, std::int64_t seconds, Seen& seen, const std::string& store) {
  sigset_t ends;
  ::sigemptyset(&ends);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) ::sigaddset(&ends, signal);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  auto told = std::chrono::steady_clock::now();
  const auto deadline = told + std::chrono::seconds(seconds);
  const auto take = [&](std::string_view line) { seen.add(line); };
  TRY(tail.read(take));
  while (std::chrono::steady_clock::now() < deadline) {
    if (std::chrono::steady_clock::now() - told > kLearningStep / 2) {
      have_mounts_tell_more(store);
      told = std::chrono::steady_clock::now();
    }
    const bool ended = ::sigtimedwait(&ends, nullptr, &kLookInterval) > 0;
    TRY(tail.read(take));
    if (ended) break;
  }
  ::pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  return {};
}

std::string_view to_string(LeftOut::Why why) {
  switch (why) {
    case LeftOut::Why::kUnknownCaller:
      return "nothing is known of the caller";
    case LeftOut::Why::kDenied:
      return "a grant denies it";
    case LeftOut::Why::kNotApart:
      return "nothing tells the caller from one that must not have it";
  }
  return "unknown";
}

std::vector<std::string> selector_texts(const std::vector<Selector>& selectors) {
  std::vector<std::string> texts;
  for (const Selector& selector : selectors) texts.push_back(selector.text());
  return texts;
}

/// Ready to be run, from anywhere.
std::string command_for(const ProposedGrant& grant, const std::string& store,
                        const std::string& scope) {
  std::string command = "coffer grant add " + shell_word(store) + " " + shell_word(scope);
  for (const Selector& selector : grant.selectors)
    command += " --selector " + shell_word(selector.text());
  for (const Right right : kAllRights) {
    if (grant.rights.contains(right)) command += " --right " + std::string(to_string(right));
  }
  return command;
}

/// The outcome, with what it is about.
struct Learnt {
  std::string store;  ///< its directory
  std::string scope;
  const Seen& seen;
  const Proposal& proposal;
  bool on_the_way = false;
};

void print_json_of(const Learnt& learnt) {
  const Proposal& proposal = learnt.proposal;
  Json json = {{"scope", learnt.scope},
               {"requests", learnt.seen.requests()},
               {"refused_above", learnt.seen.refused_above()},
               {"identities", proposal.identities},
               {"allowed_already", proposal.allowed_already},
               {"smallest", proposal.smallest},
               {"proposed", Json::array()},
               {"left_out", Json::array()}};
  for (const ProposedGrant& grant : proposal.grants) {
    json["proposed"].push_back({{"selectors", selector_texts(grant.selectors)},
                                {"rights", to_string(grant.rights)},
                                {"identities", grant.identities},
                                {"command", command_for(grant, learnt.store, learnt.scope)}});
  }
  for (const LeftOut& left : proposal.left_out) {
    json["left_out"].push_back({{"selectors", selector_texts(left.selectors)},
                                {"rights", to_string(left.rights)},
                                {"why", to_string(left.why)}});
  }
  print_json(json);
}

/// Commands on stdout, and nothing else; the rest is for whoever looks on.
void print_text(const Learnt& learnt) {
  const Proposal& proposal = learnt.proposal;
  std::fprintf(stderr, "scope %s: %zu requests by %zu identities; allowed already to %zu of them\n",
               printable(learnt.scope).c_str(), learnt.seen.requests(), proposal.identities,
               proposal.allowed_already);
  for (const LeftOut& left : proposal.left_out) {
    std::fprintf(stderr, "left out: %s for %s: %s\n", to_string(left.rights).c_str(),
                 left.selectors.empty() ? "somebody"
                                        : printable(joined(selector_texts(left.selectors))).c_str(),
                 std::string(to_string(left.why)).c_str());
  }
  if (learnt.seen.refused_above() > 0 && !learnt.on_the_way) {
    std::fprintf(stderr,
                 "%zu times a name on the way to %s was refused, perhaps to somebody who was going "
                 "there; --on-the-way counts them in\n",
                 learnt.seen.refused_above(), printable(learnt.scope).c_str());
  }
  if (!proposal.smallest) std::fputs("There may be a smaller set than this one.\n", stderr);
  std::fputs(proposal.grants.empty() ? "Nothing to propose.\n"
                                     : "Proposed, not applied; look at each before you run it:\n",
             stderr);
  for (const ProposedGrant& grant : proposal.grants)
    std::puts(command_for(grant, learnt.store, learnt.scope).c_str());
}

/// What all processes of this machine have in common tells none of them apart.
std::vector<std::string> kinds_left_out(const LearnOptions& options) {
  std::vector<std::string> kinds = options.without;
  kinds.insert(kinds.end(), {"host:name", "host:machine-id"});
  return kinds;
}

Result<int> learn_grants(const LearnOptions& options) {
  const Bounds bounds = TRY(bounds_of(options));
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const std::string scope = TRY(scope_root(TRY(session.keyring->policy()), options.path));
  const std::string log = options.log.empty() ? session.audit->path() : options.log;
  auto tail = TRY(bounds.since.has_value() ? LineTail::from_oldest(log, format_time(*bounds.since))
                                           : LineTail::from_end(log));
  Seen seen(bounds, session.config.store.hex(), scope, options.on_the_way);
  if (bounds.watch_s > 0) {
    have_mounts_tell_more(session.config.store.hex());
    std::fprintf(stderr, "Watching scope %s for %s; Ctrl-C ends it earlier\n",
                 printable(scope).c_str(), format_duration(bounds.watch_s).c_str());
  }
  TRY(watch(tail, bounds.watch_s, seen, session.config.store.hex()));

  // Grants as they are now: some may have been made meanwhile.
  const Policy policy = TRY(Policy::from(TRY(session.keyring->policy())));
  const ScopeRow* const row = policy.scope_at(scope);
  if (row == nullptr) return Error{Code::kNotFound, 0, "scope " + scope + " is gone"};
  const auto observations = seen.observations();
  const Proposal proposal =
      propose(observations, policy.grants(row->id), session.clock->unix_seconds(),
              {.all = options.all, .without = kinds_left_out(options)});
  const Learnt learnt{.store = session.config.root,
                      .scope = scope,
                      .seen = seen,
                      .proposal = proposal,
                      .on_the_way = options.on_the_way};
  if (options.json) {
    print_json_of(learnt);
  } else {
    print_text(learnt);
  }
  return 0;
}

}  // namespace

void add_grant_learn_command(CLI::App& grant, ChosenCommand& chosen) {
  CLI::App& verb = *grant.add_subcommand(
      "learn", "Watch a scope for a time, and propose the fewest grants for what was refused");
  const auto options = std::make_shared<LearnOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->path, "The scope's path in the store")->required();
  verb.add_option("--for", options->watch, "How long to watch, as 10m; up to 24h");
  verb.add_option("--since", options->since, "Look at what is on record from this time on, too");
  verb.add_option("--right", options->rights, "Only requests for this right; once or more");
  verb.add_flag("--all", options->all, "Propose for what is allowed already, too");
  verb.add_flag("--on-the-way", options->on_the_way,
                "Take who was refused a name above the scope for one who wants to list it");
  verb.add_option("--without", options->without,
                  "Propose no selectors of this kind, as unix:gid; once or more");
  verb.add_option("--log", options->log, "Another audit log than this user's own");
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "Prints commands and applies none. What is seen is what the audit log of this node says; "
      "who\n"
      "is refused one thing does not ask for the next, so learn again once it is granted.");
  verb.callback([options, &chosen] { chosen.run = [options] { return learn_grants(*options); }; });
}

}  // namespace coffer
