// Who may have a key, and how he gets it.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fs/identity/identity_resolver.h"
#include "keystore/broker/key_broker.h"
#include "keystore/broker/policy.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/child_process.h"
#include "tests/support/keystore_store.h"
#include "tests/support/store_whole.h"

namespace coffer::testing {
namespace {

constexpr Rights kRead = Rights::of(Right::kRead);
constexpr uid_t kFirstUser = 10000;

GrantRow grant_of(uid_t uid) {
  return selector_grant(kRootScope, {Selector::unix_uid(uid).text()});
}

/// A user with the groups that one on a workstation has.
Identity user_with_groups(uid_t uid) {
  Identity user = identity_of_request({.uid = uid, .gid = uid, .tid = 1});
  for (const gid_t group : {4U, 20U, 24U, 27U, 44U, 1000U}) {
    user.selectors.push_back(Selector::unix_supplementary_gid(group));
  }
  std::sort(user.selectors.begin(), user.selectors.end());
  return user;
}

/// The decision alone: grants of as many users, the last of whom asks.
void policy_decide(benchmark::State& state) {
  PolicySnapshot snapshot;
  ScopeRow root;
  root.id = kRootScope;
  root.path = std::string("/");
  snapshot.scopes.push_back(std::move(root));
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    snapshot.grants.push_back(grant_of(kFirstUser + static_cast<uid_t>(i)));
    snapshot.grants.back().id = GrantId{i + 1};
  }
  const Policy policy = must_be(Policy::from(snapshot));
  const Identity user = user_with_groups(kFirstUser + static_cast<uid_t>(state.range(0)) - 1);
  const std::int64_t now = Clock().unix_seconds();
  Decision decision;
  for (auto _ : state) {
    decision = policy.decide(kRootScope, user, kRead, now);
    benchmark::DoNotOptimize(decision);
  }
  require(state, decision.allowed && decision.grant == GrantId{state.range(0)},
          "the grant was not found");
  require(state, !policy.decide(kRootScope, user_with_groups(1), kRead, now).allowed,
          "who has no grant is let in");
}
BENCHMARK(policy_decide)->ArgName("grants")->RangeMultiplier(10)->Range(1, 1000);

/// A store under a key file, with keys of many files in its keystore. Whoever runs this may read;
/// so may others, until there are as many grants as are wanted.
class StoreWithGrants {
 public:
  explicit StoreWithGrants(std::int64_t grants) : keys_(must_be(make_keys())) {
    for (std::int64_t i = 1; i < grants; ++i) {
      must_be(store_.keyring().add_grant(grant_of(kFirstUser + static_cast<uid_t>(i))));
    }
    must_be(store_.broker().reload());
    const auto policy = must_be(store_.broker().policy());
    if (policy->grants(kRootScope).size() != static_cast<std::size_t>(grants)) std::abort();
    for (std::size_t i = 0; i < keys_.size(); ++i) places_[keys_[i].file] = i;
  }

  Keyring& keyring() { return store_.keyring(); }
  KeyBroker& broker() { return store_.broker(); }
  [[nodiscard]] Rounds<FileId> files() const {
    Chooser choose(8);
    std::vector<FileId> files(1024);
    for (FileId& file : files) file = keys_[choose.below(keys_.size())].file;
    return Rounds(std::move(files));
  }
  [[nodiscard]] AccessRequest request(const Identity& who) const {
    return {.scope = kRootScope, .who = who, .rights = kRead, .path = "/models/weights.bin"};
  }
  [[nodiscard]] bool is_key_of(FileId file, const Result<Dek>& dek) const {
    return dek && dek->file == file &&
           constant_time_equal(dek->key.expose(), keys_[places_.at(file)].key.expose());
  }
  [[nodiscard]] std::int64_t audit_lines() const {
    std::ifstream log(store_.beside("audit/log"));
    return std::count(std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>(), '\n');
  }

 private:
  Result<std::vector<Dek>> make_keys() { return store_.keyring().make_deks(kRootScope, 10000); }

  WholeStore store_;
  std::vector<Dek> keys_;
  std::map<FileId, std::size_t> places_;
};

constexpr KeyVersion kFirstVersion{1};

/// The decision, the keystore's row, its key unwrapped, and the audit line.
void broker_release(benchmark::State& state) {
  StoreWithGrants store(state.range(0));
  const Identity self = resolve_identity(Caller::self(), Sources::of(Source::kGroups));
  const AccessRequest request = store.request(self);
  auto files = store.files();
  const std::int64_t lines_before = store.audit_lines();
  Result<Dek> dek = Dek{};
  bool held = true;
  must_be(store.keyring().dek(files.next(), kFirstVersion));  // has the KEK at hand
  for (auto _ : state) {
    dek = store.broker().release(files.next(), kFirstVersion, request);
    benchmark::DoNotOptimize(held &= dek.ok());
  }
  require(state, held && store.is_key_of(files.last(), dek), "a release failed");
  require(state, store.audit_lines() - lines_before == state.iterations(),
          "a release is not on the audit log");
  const Identity stranger = user_with_groups(1);
  require(state, !store.broker().release(files.last(), kFirstVersion, store.request(stranger)).ok(),
          "who has no grant gets a key");
}
BENCHMARK(broker_release)->ArgName("grants")->Arg(1)->Arg(100);

/// A lookup's: the decision, and the scope's secret, which is at hand.
void broker_release_names(benchmark::State& state) {
  StoreWithGrants store(state.range(0));
  const Identity self = resolve_identity(Caller::self(), Sources::of(Source::kGroups));
  const AccessRequest request = store.request(self);
  constexpr auto kRefusals = KeyBroker::Lines::kRefusals;
  std::shared_ptr<const SecretBytes> secret =
      must_be(store.broker().release_names(request, kRefusals));
  for (auto _ : state) {
    auto released = store.broker().release_names(request, kRefusals);
    secret = released ? std::move(*released) : nullptr;
    benchmark::DoNotOptimize(secret);
  }
  const SecretBytes expected = must_be(store.keyring().scope_secret(kRootScope));
  require(state, secret != nullptr && constant_time_equal(secret->expose(), expected.expose()),
          "it is another secret");
  const Identity stranger = user_with_groups(1);
  require(state, !store.broker().release_names(store.request(stranger), kRefusals).ok(),
          "who has no grant gets the names");
}
BENCHMARK(broker_release_names)->ArgName("grants")->Arg(1)->Arg(100);

/// A file's row, authenticated, and its key unwrapped by a KEK that is at hand.
void keyring_dek(benchmark::State& state) {
  StoreWithGrants store(1);
  auto files = store.files();
  Result<Dek> dek = Dek{};
  bool held = true;
  must_be(store.keyring().dek(files.next(), kFirstVersion));  // has the KEK at hand
  for (auto _ : state) {
    dek = store.keyring().dek(files.next(), kFirstVersion);
    benchmark::DoNotOptimize(held &= dek.ok());
  }
  require(state, held && store.is_key_of(files.last(), dek), "it is another key");
}
BENCHMARK(keyring_dek);

/// The same with nothing at hand but the master key: the policy is authenticated for the KEK.
void keyring_dek_without_kek(benchmark::State& state) {
  StoreWithGrants store(state.range(0));
  auto files = store.files();
  Result<Dek> dek = Dek{};
  bool held = true;
  for (auto _ : state) {
    store.keyring().forget_keys();
    dek = store.keyring().dek(files.next(), kFirstVersion);
    benchmark::DoNotOptimize(held &= dek.ok());
  }
  require(state, held && store.is_key_of(files.last(), dek), "it is another key");
}
BENCHMARK(keyring_dek_without_kek)->ArgName("grants")->Arg(1)->Arg(100);

/// Processes that wait to be looked at.
std::vector<std::unique_ptr<ChildProcess>> waiting_processes(benchmark::State& state, int count) {
  std::vector<std::unique_ptr<ChildProcess>> processes;
  for (int i = 0; i < count; ++i) {
    processes.push_back(std::make_unique<ChildProcess>([] { return true; }));
    require(state, processes.back()->ready(), "no process could be made");
  }
  return processes;
}

/// Argument 1: one process asks again and again, whose status file stays open; 2: two take turns,
/// and it is opened each time.
void identity_resolve(benchmark::State& state) {
  const auto processes = waiting_processes(state, static_cast<int>(state.range(0)));
  std::vector<Caller> waiting;
  waiting.reserve(processes.size());
  for (const auto& process : processes) {
    waiting.push_back({.uid = ::geteuid(), .gid = ::getegid(), .tid = process->pid()});
  }
  Rounds<Caller> callers(std::move(waiting));
  Identity identity;
  for (auto _ : state) {
    identity = resolve_identity(callers.next(), Sources::of(Source::kGroups));
    benchmark::DoNotOptimize(identity.pid);
  }
  require(state,
          identity.pid == callers.last().tid && identity.has(Selector::unix_uid(::geteuid())) &&
              identity.has(Selector::unix_gid(::getegid())),
          "it is not who called");
}
BENCHMARK(identity_resolve)->ArgName("processes")->Arg(1)->Arg(2);

/// What the request itself says.
void identity_by_request(benchmark::State& state) {
  const Caller caller = Caller::self();
  Identity identity;
  for (auto _ : state) {
    identity = identity_of_request(caller);
    benchmark::DoNotOptimize(identity.uid);
  }
  require(state, identity.uid == caller.uid && identity.has(Selector::unix_gid(caller.gid)),
          "it is not who called");
}
BENCHMARK(identity_by_request);

}  // namespace
}  // namespace coffer::testing
