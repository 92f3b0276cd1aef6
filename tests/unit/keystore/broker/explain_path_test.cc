#include "keystore/broker/explain_path.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/unit/keystore/broker/policies.h"

namespace coffer {
namespace {

using testing::kList;
using testing::kNow;
using testing::kRead;
using testing::scope;
using testing::user;

constexpr Rights kListRead{3};

GrantRow grant(std::int64_t id, std::uint32_t scope_id, Rights rights, uid_t uid) {
  GrantRow row;
  row.id = GrantId{id};
  row.scope = ScopeId{scope_id};
  row.rights = rights.bits;
  row.selectors = {"unix:uid:" + std::to_string(uid)};
  return row;
}

Policy policy_of(std::vector<GrantRow> grants) {
  PolicySnapshot snapshot;
  snapshot.scopes = {scope(1, "/"), scope(2, "/models"), scope(3, "/models/llama")};
  snapshot.grants = std::move(grants);
  auto policy = Policy::from(snapshot);
  EXPECT_TRUE(policy.ok());
  return std::move(*policy);
}

TEST(ExplainPath, AScopeThatIsNotInUseOutweighsItsGrants) {
  PolicySnapshot snapshot;
  snapshot.scopes = {scope(1, "/"), scope(2, "/models")};
  snapshot.scopes[1].state = KeyState::kSuspended;
  snapshot.grants = {grant(1, 1, kRead, 7), grant(2, 2, kRead, 7), grant(3, 2, kRead, 7),
                     grant(4, 2, kRead, 8)};
  const Policy policy = std::move(*Policy::from(snapshot));
  const auto explained = explain_path(policy, "/models/a", user(7), kRead, kNow);
  EXPECT_FALSE(explained.allowed());
  EXPECT_EQ(explained.code(), Code::kRevoked);
  const Explanation& read = explained.asked.front().explanation;
  EXPECT_EQ(read.decision.reason, "the scope is suspended");
  EXPECT_EQ(read.grants[0].part, GrantFinding::Part::kOutweighed);
  EXPECT_EQ(read.grants[1].part, GrantFinding::Part::kOutweighed);
  EXPECT_EQ(read.grants[2].part, GrantFinding::Part::kNone);
  EXPECT_TRUE(explain_path(policy, "/a", user(7), kRead, kNow).allowed());
}

TEST(ExplainPath, AsksEachRightOfTheScopeThatThePathLiesIn) {
  const Policy policy = policy_of({grant(1, 1, kRead, 7), grant(2, 3, kList, 7)});
  const auto explained = explain_path(policy, "/models/llama/a/b", user(7), kListRead, kNow);
  EXPECT_EQ(explained.scope, "/models/llama");
  ASSERT_EQ(explained.asked.size(), 2U);
  EXPECT_EQ(explained.asked[0].right, Right::kList);
  EXPECT_EQ(explained.asked[0].explanation.decision.grant, GrantId{2});
  EXPECT_FALSE(explained.asked[1].explanation.decision.allowed);
  EXPECT_EQ(explained.asked[1].explanation.grants.size(), 1U)
      << "those of other scopes are not asked";
  EXPECT_FALSE(explained.allowed());
  EXPECT_EQ(explained.code(), Code::kDenied);
  EXPECT_FALSE(explained.stop.has_value());
}

TEST(ExplainPath, AGrantedScopeIsReachedThroughOthers) {
  const Policy policy = policy_of({grant(1, 3, kRead, 7)});
  EXPECT_TRUE(explain_path(policy, "/models/llama/weights", user(7), kRead, kNow).allowed());
  // What is above may be passed, and neither listed nor looked into.
  const auto above = explain_path(policy, "/models", user(7), kList, kNow);
  EXPECT_FALSE(above.allowed());
  EXPECT_EQ(above.on_the_way_to, std::vector<std::string>{"/models/llama"});
  EXPECT_FALSE(above.stop.has_value());
  const auto beside = explain_path(policy, "/models/other", user(7), kList, kNow);
  EXPECT_TRUE(beside.on_the_way_to.empty());
  ASSERT_TRUE(beside.stop.has_value());
  EXPECT_EQ(beside.stop->path, "/models/other");
  EXPECT_EQ(beside.stop->scope, "/models");
}

TEST(ExplainPath, ARightIsOfNoUseWhereNamesCantBeLookedUp) {
  GrantRow deny = grant(2, 3, kList, 7);
  deny.deny = true;
  const Policy policy = policy_of({grant(1, 3, kRead, 7), deny});
  const auto explained = explain_path(policy, "/models/llama/weights", user(7), kRead, kNow);
  EXPECT_TRUE(explained.asked[0].explanation.decision.allowed);
  ASSERT_TRUE(explained.stop.has_value());
  EXPECT_EQ(explained.stop->path, "/models") << "no longer on the way to anything";
  EXPECT_FALSE(explained.allowed());
  EXPECT_EQ(explained.code(), Code::kDenied);
}

TEST(ExplainPath, TheCodeIsThatOfTheFirstRefusal) {
  GrantRow revoked = grant(1, 1, kListRead, 7);
  revoked.revoked_at = kNow - 1;
  const Policy policy = policy_of({revoked});
  EXPECT_EQ(explain_path(policy, "/", user(7), kRead, kNow).code(), Code::kRevoked);
  EXPECT_FALSE(explain_path(policy, "/", user(7), kRead, kNow).stop.has_value());
  EXPECT_EQ(explain_path(policy, "/", user(8), kRead, kNow).code(), Code::kDenied);
}

/// A mount's own questions: each name is looked up in its directory, then the right is asked.
bool mount_would(const Policy& policy, const std::vector<std::string>& names, const Identity& who,
                 Rights wanted) {
  std::string directory = "/";
  for (const std::string& name : names) {
    const std::string path = (directory == "/" ? "" : directory) + "/" + name;
    const bool listed =
        policy.decide(policy.scope_containing(directory).id, who, kList, kNow).allowed;
    if (!listed && !policy.on_the_way(path, who, kNow)) return false;
    directory = path;
  }
  return policy.decide(policy.scope_containing(directory).id, who, wanted, kNow).allowed;
}

TEST(ExplainPath, SaysWhatAMountWould) {
  const std::vector<std::vector<std::string>> paths = {
      {},        {"models"}, {"models", "llama"}, {"models", "llama", "x"}, {"models", "x"},
      {"other"}, {"x", "y"}, {"models2", "llama"}};
  int allowed = 0;
  int stopped = 0;
  for (unsigned seed = 1; seed <= 50'000; ++seed) {
    std::mt19937 engine(seed);
    const auto below = [&](unsigned limit) { return static_cast<std::uint32_t>(engine() % limit); };
    std::vector<GrantRow> grants;
    for (unsigned i = 0; i < below(5); ++i) {
      grants.push_back(
          grant(i + 1, 1 + below(3), Rights{static_cast<std::uint8_t>(1 + below(7))}, below(2)));
      grants.back().deny = below(4) == 0;
    }
    const Policy policy = policy_of(grants);
    const Rights wanted{static_cast<std::uint8_t>(1 + below(7))};
    for (const auto& names : paths) {
      std::string path;
      for (const std::string& name : names) path += "/" + name;
      if (path.empty()) path = "/";
      const auto explained = explain_path(policy, path, user(1), wanted, kNow);
      ASSERT_EQ(explained.allowed(), mount_would(policy, names, user(1), wanted))
          << "seed " << seed << " " << path;
      const bool rights =
          policy.decide(policy.scope_containing(path).id, user(1), wanted, kNow).allowed;
      allowed += explained.allowed() ? 1 : 0;
      stopped += rights && explained.stop.has_value() ? 1 : 0;
      const bool listed =
          policy.decide(policy.scope_containing(path).id, user(1), kList, kNow).allowed;
      if (wanted.contains(Right::kList) && !listed) {
        ASSERT_EQ(!explained.on_the_way_to.empty(), policy.on_the_way(path, user(1), kNow))
            << "seed " << seed << " " << path;
      }
    }
  }
  EXPECT_GT(allowed, 1000);
  EXPECT_GT(stopped, 100);
}

}  // namespace
}  // namespace coffer
