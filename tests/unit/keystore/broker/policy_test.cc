#include "keystore/broker/policy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/keystore/broker/policies.h"

namespace coffer {
namespace {

using testing::kList;
using testing::kNow;
using testing::kRead;
using testing::kWrite;
using testing::scope;
using testing::user;

constexpr Rights kReadWrite{6};

GrantRow grant(std::int64_t id, std::uint32_t scope_id, std::uint8_t rights,
               std::vector<std::string> selectors) {
  GrantRow row;
  row.id = GrantId{id};
  row.scope = ScopeId{scope_id};
  row.rights = rights;
  row.everyone = selectors.empty();
  row.selectors = std::move(selectors);
  return row;
}

Policy policy_of(const PolicySnapshot& snapshot) {
  auto policy = Policy::from(snapshot);
  EXPECT_TRUE(policy.ok());
  return std::move(*policy);
}

PolicySnapshot tree() {
  PolicySnapshot snapshot;
  snapshot.generation = 7;
  snapshot.names = NamesMode::kPlain;
  snapshot.scopes = {scope(1, "/"), scope(2, "/models"), scope(3, "/models/llama"),
                     scope(4, "/models/llama2"), scope(5, "/data/deep/er")};
  return snapshot;
}

TEST(NormalisePath, GivesOneFormOrNone) {
  for (const auto& [path, expected] : {std::pair{"", "/"},
                                       {"/", "/"},
                                       {"//", "/"},
                                       {"///", "/"},
                                       {"a", "/a"},
                                       {"/a", "/a"},
                                       {"a/", "/a"},
                                       {"/a/", "/a"},
                                       {"//a//b//", "/a/b"},
                                       {"/a/b", "/a/b"},
                                       {"/...", "/..."},
                                       {"/.a/b.", "/.a/b."},
                                       {"/..a", "/..a"},
                                       {" /a", "/ /a"},
                                       {"/a\n", "/a\n"},
                                       {"/\xff\xfe", "/\xff\xfe"}}) {
    const auto normal = normalise_path(path);
    ASSERT_TRUE(normal.ok()) << path;
    EXPECT_EQ(*normal, expected) << path;
    EXPECT_EQ(*normalise_path(*normal), expected) << path;
  }
  for (const char* path : {".", "..", "/.", "/..", "./a", "../a", "/a/.", "/a/..", "/a/./b",
                           "/a/../b", "//..//", "a/../../etc"}) {
    const auto refused = normalise_path(path);
    ASSERT_FALSE(refused.ok()) << path;
    EXPECT_EQ(refused.error().code, Code::kInvalid);
  }
}

TEST(Policy, FindsScopes) {
  const Policy policy = policy_of(tree());
  EXPECT_EQ(policy.generation(), 7U);
  EXPECT_EQ(policy.names(), NamesMode::kPlain);
  EXPECT_EQ(policy.scopes().size(), 5U);
  EXPECT_EQ(policy.scope(ScopeId{3})->path, "/models/llama");
  EXPECT_EQ(policy.scope(ScopeId{6}), nullptr);
  EXPECT_EQ(policy.scope_at("/models/llama2")->id, ScopeId{4});
  EXPECT_EQ(policy.scope_at("/models/llama2/"), nullptr);
  EXPECT_EQ(policy.scope_at("/models/llam"), nullptr);
  EXPECT_EQ(policy.scope_at(""), nullptr);
}

TEST(Policy, APathLiesInTheDeepestScopeAboveIt) {
  const Policy policy = policy_of(tree());
  for (const auto& [path, id] :
       std::vector<std::pair<const char*, std::uint32_t>>{{"/", 1},
                                                          {"/file", 1},
                                                          {"/model", 1},
                                                          {"/modelsx", 1},
                                                          {"/models", 2},
                                                          {"/models/", 2},
                                                          {"/models/a/b", 2},
                                                          {"/models/llam", 2},
                                                          {"/models/llama3", 2},
                                                          {"/models/llama", 3},
                                                          {"/models/llama/x", 3},
                                                          {"/models/llama2", 4},
                                                          {"/models/llama2/x", 4},
                                                          {"/models/llama 2", 2},
                                                          {"/data", 1},
                                                          {"/data/deep", 1},
                                                          {"/data/deep/er", 5},
                                                          {"/data/deep/erx", 1},
                                                          {"", 1}}) {
    EXPECT_EQ(policy.scope_containing(path).id, ScopeId{id}) << path;
  }
}

TEST(Policy, KnowsWhereAScopeLiesBelow) {
  const Policy policy = policy_of(tree());
  for (const char* path :
       {"/", "/models", "/models/llama", "/data", "/data/deep", "/data/deep/er"}) {
    EXPECT_TRUE(policy.scope_at_or_below(path)) << path;
  }
  for (const char* path : {"/model", "/models/llam", "/models/llama/x", "/data/dee", "/x"}) {
    EXPECT_FALSE(policy.scope_at_or_below(path)) << path;
  }
  PolicySnapshot only_root;
  only_root.scopes = {scope(1, "/")};
  EXPECT_FALSE(policy_of(only_root).scope_at_or_below("/"));
}

TEST(Policy, AGrantIsOfItsScopeOnly) {
  PolicySnapshot snapshot = tree();
  snapshot.grants = {grant(1, 2, 7, {"unix:uid:1"})};
  const Policy policy = policy_of(snapshot);
  EXPECT_EQ(policy.grants(ScopeId{2}).size(), 1U);
  EXPECT_TRUE(policy.grants(ScopeId{3}).empty());
  EXPECT_TRUE(policy.decide(ScopeId{2}, user(1), kReadWrite, kNow).allowed);
  EXPECT_FALSE(policy.decide(ScopeId{2}, user(2), kRead, kNow).allowed);
  // Neither the scope above nor those below are granted by it.
  for (const std::uint32_t other : {1U, 3U, 4U, 5U, 99U}) {
    EXPECT_FALSE(policy.decide(ScopeId{other}, user(1), kList, kNow).allowed) << other;
  }
}

TEST(Policy, EveryRightAskedForHasToBeGranted) {
  PolicySnapshot snapshot = tree();
  snapshot.grants = {grant(1, 1, 2, {"unix:uid:1"}), grant(2, 1, 4, {"unix:uid:1"}),
                     grant(3, 1, 2, {"unix:uid:2"}), grant(4, 1, 4, {"unix:uid:3"})};
  snapshot.grants[3].not_after = kNow;
  snapshot.grants.push_back(grant(5, 1, 2, {"unix:uid:3"}));
  const Policy policy = policy_of(snapshot);
  EXPECT_TRUE(policy.decide(kRootScope, user(1), kReadWrite, kNow).allowed);
  EXPECT_TRUE(policy.decide(kRootScope, user(1), Rights{7}, kNow).allowed);
  EXPECT_TRUE(policy.decide(kRootScope, user(2), kRead, kNow).allowed);
  EXPECT_FALSE(policy.decide(kRootScope, user(2), kReadWrite, kNow).allowed);
  EXPECT_FALSE(policy.decide(kRootScope, user(2), kWrite, kNow).allowed);
  // The refusal that decides is the first: here that of writing.
  const Decision expired = policy.decide(kRootScope, user(3), kReadWrite, kNow);
  EXPECT_EQ(expired.code, Code::kExpired);
  EXPECT_EQ(expired.grant, GrantId{4});

  const Decision nothing = policy.decide(kRootScope, user(1), Rights{0}, kNow);
  EXPECT_FALSE(nothing.allowed);
  EXPECT_EQ(nothing.code, Code::kDenied);
}

TEST(Policy, TheWayToAGrantedScopeCanBePassed) {
  PolicySnapshot snapshot = tree();
  snapshot.grants = {grant(1, 3, 2, {"unix:uid:1"}), grant(2, 5, 4, {"unix:uid:1"}),
                     grant(3, 4, 1, {"unix:uid:2"})};
  snapshot.grants[1].not_after = kNow;
  const Policy policy = policy_of(snapshot);
  for (const char* path : {"/", "/models", "/models/llama"}) {
    EXPECT_TRUE(policy.on_the_way(path, user(1), kNow)) << path;
  }
  for (const char* path :
       {"/models/llama/x", "/models/llam", "/models/llama2", "/model", "/modelsx"}) {
    EXPECT_FALSE(policy.on_the_way(path, user(1), kNow)) << path;
  }
  // A way to a scope whose grant has run out is none.
  EXPECT_TRUE(policy.on_the_way("/data/deep", user(1), kNow - 1));
  EXPECT_FALSE(policy.on_the_way("/data/deep", user(1), kNow));
  EXPECT_TRUE(policy.on_the_way("/models", user(2), kNow));
  EXPECT_FALSE(policy.on_the_way("/data", user(2), kNow));
  EXPECT_FALSE(policy.on_the_way("/", user(3), kNow));
  EXPECT_FALSE(policy.on_the_way("/", Identity{}, kNow));
}

TEST(Policy, AGrantOfTheRootMakesNoWay) {
  PolicySnapshot snapshot = tree();
  snapshot.grants = {grant(1, 1, 7, {"unix:uid:1"})};
  const Policy policy = policy_of(snapshot);
  EXPECT_FALSE(policy.on_the_way("/", user(1), kNow));
  EXPECT_FALSE(policy.on_the_way("/models", user(1), kNow));
}

TEST(Policy, KnowsWhatItsGrantsAskForBeyondARequest) {
  PolicySnapshot snapshot = tree();
  snapshot.grants = {grant(1, 1, 1, {"unix:uid:5"}), grant(2, 2, 1, {"unix:gid:6"}),
                     grant(3, 3, 1, {})};
  EXPECT_EQ(policy_of(snapshot).sources(), Sources{});
  snapshot.grants.push_back(grant(4, 4, 1, {"unix:uid:5", "unix:supplementary_gid:6"}));
  EXPECT_EQ(policy_of(snapshot).sources(), Sources::of(Source::kGroups));
  snapshot.grants.push_back(grant(5, 4, 1, {"unix:user:joe", "container:none"}));
  EXPECT_EQ(policy_of(snapshot).sources(),
            Sources::of(Source::kGroups, Source::kUserName, Source::kCgroup, Source::kNamespaces));
}

TEST(Policy, NothingIsGrantedInAScopeThatIsNotInUse) {
  for (const auto& [state, allowed] : {std::pair{KeyState::kActive, true},
                                       {KeyState::kSuspended, false},
                                       {KeyState::kDeactivated, false},
                                       {KeyState::kCompromised, false},
                                       {KeyState::kDestroyed, false}}) {
    PolicySnapshot snapshot = tree();
    snapshot.scopes[1].state = state;
    snapshot.grants = {grant(1, 2, 7, {}), grant(2, 1, 7, {})};
    const Policy policy = policy_of(snapshot);
    const Decision decision = policy.decide(ScopeId{2}, user(1), kRead, kNow);
    EXPECT_EQ(decision.allowed, allowed);
    EXPECT_TRUE(allowed || decision.code == Code::kRevoked);
    EXPECT_TRUE(policy.decide(ScopeId{1}, user(1), kRead, kNow).allowed) << "that of another";
  }
}

TEST(Policy, KnowsWhenTimeChangesItNext) {
  PolicySnapshot snapshot = tree();
  EXPECT_EQ(policy_of(snapshot).next_change(kNow), std::nullopt);
  snapshot.grants = {grant(1, 2, 7, {}), grant(2, 1, 7, {}), grant(3, 1, 7, {})};
  snapshot.grants[0].not_before = kNow + 10;
  snapshot.grants[0].not_after = kNow + 20;
  snapshot.grants[1].not_after = kNow;
  const Policy policy = policy_of(snapshot);
  EXPECT_EQ(policy.next_change(kNow - 1), kNow);
  EXPECT_EQ(policy.next_change(kNow), kNow + 10);
  EXPECT_EQ(policy.next_change(kNow + 10), kNow + 20);
  EXPECT_EQ(policy.next_change(kNow + 20), std::nullopt);
}

TEST(Policy, RefusesAGrantItDoesNotUnderstand) {
  for (const char* selector : {"k8s:ns:prod", "unix:uid:01", "", "unix:uid:4294967295"}) {
    PolicySnapshot snapshot = tree();
    snapshot.grants = {grant(1, 2, 7, {"unix:uid:1"}), grant(2, 2, 7, {selector})};
    snapshot.grants[1].deny = true;
    const auto policy = Policy::from(snapshot);
    ASSERT_FALSE(policy.ok()) << selector;
    EXPECT_EQ(policy.error().code, Code::kCorrupt);
    EXPECT_NE(policy.error().context.find("grant 2"), std::string::npos);
  }
}

TEST(Policy, HasARootOrIsNone) {
  PolicySnapshot snapshot = tree();
  snapshot.scopes.erase(snapshot.scopes.begin());
  ASSERT_FALSE(Policy::from(snapshot).ok());
  EXPECT_EQ(Policy::from(snapshot).error().code, Code::kCorrupt);
  EXPECT_FALSE(Policy::from(PolicySnapshot{}).ok());
}

TEST(Policy, KeepsAllOfAGrant) {
  PolicySnapshot snapshot = tree();
  GrantRow row = grant(9, 2, 3, {"unix:gid:5", "unix:uid:1"});
  row.deny = true;
  row.not_before = 1;
  row.not_after = 2;
  row.revoked_at = 3;
  row.purpose = "why";
  snapshot.grants = {row};
  const Policy policy = policy_of(snapshot);
  const Grant& kept = policy.grants(ScopeId{2})[0];
  EXPECT_EQ(kept.id, GrantId{9});
  EXPECT_EQ(kept.scope, ScopeId{2});
  EXPECT_TRUE(kept.deny);
  EXPECT_EQ(kept.rights.bits, 3);
  EXPECT_FALSE(kept.everyone);
  EXPECT_EQ(kept.not_before, 1);
  EXPECT_EQ(kept.not_after, 2);
  EXPECT_EQ(kept.revoked_at, 3);
  EXPECT_EQ(kept.purpose, "why");
  EXPECT_EQ(kept.selectors, (std::vector<Selector>{Selector::unix_gid(5), Selector::unix_uid(1)}));
}

}  // namespace
}  // namespace coffer
