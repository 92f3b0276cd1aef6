#include "keystore/access/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "grants.h"
#include "random_grants.h"
#include "tests/unit/keystore/access/grants.h"

namespace coffer {
namespace {

using testing::allow;
using testing::describe;
using testing::kNow;
using testing::RandomGrants;
using Part = GrantFinding::Part;

Identity known_as(std::vector<Selector> selectors) {
  std::sort(selectors.begin(), selectors.end());
  Identity identity;
  identity.selectors = std::move(selectors);
  return identity;
}

TEST(Explain, SaysOfEachGrantWhatKeepsItOut) {
  const Rights read = Rights::of(Right::kRead);
  std::vector<Grant> grants = {
      allow(1, read, {Selector::unix_uid(1000), Selector::unix_gid(7), Selector::unix_gid(8)}),
      allow(2, Rights::of(Right::kWrite), {Selector::unix_uid(1000)}),
      allow(3, read, {Selector::unix_uid(1000)}),
      allow(4, read, {Selector::unix_uid(1000)}),
      allow(5, read, {}),
  };
  grants[2].not_after = kNow;
  grants[3].not_before = kNow + 1;
  const auto explained = explain(
      grants, known_as({Selector::unix_uid(1000), Selector::unix_gid(7)}), Right::kRead, kNow);
  EXPECT_TRUE(explained.decision.allowed);
  EXPECT_EQ(explained.decision.grant, GrantId{5});
  ASSERT_EQ(explained.grants.size(), 5U);
  EXPECT_EQ(explained.grants[0].failed, std::vector{Selector::unix_gid(8)});
  EXPECT_FALSE(explained.grants[1].right_fits);
  EXPECT_TRUE(explained.grants[1].matches);
  EXPECT_EQ(explained.grants[2].lifetime, Lifetime::kExpired);
  EXPECT_EQ(explained.grants[3].lifetime, Lifetime::kNotYet);
  EXPECT_EQ(explained.grants[4].part, Part::kDecides);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(explained.grants[i].part, Part::kNone) << i;
}

TEST(Explain, ADenyOutweighsAndTheRestAgrees) {
  const Rights read = Rights::of(Right::kRead);
  std::vector<Grant> grants = {allow(1, read, {}), allow(2, read, {}), allow(3, read, {})};
  grants[1].deny = grants[2].deny = true;
  const auto caller = known_as({Selector::unix_uid(1000)});
  const auto denied = explain(grants, caller, Right::kRead, kNow);
  EXPECT_EQ(denied.decision.grant, GrantId{2});
  EXPECT_EQ(denied.grants[0].part, Part::kOutweighed);
  EXPECT_EQ(denied.grants[1].part, Part::kDecides);
  EXPECT_EQ(denied.grants[2].part, Part::kAgrees);
  // A deny names the rights it hits; listing is not among them.
  const auto listing = explain(grants, caller, Right::kList, kNow);
  EXPECT_TRUE(listing.decision.allowed);
  EXPECT_FALSE(listing.grants[1].right_fits);
}

TEST(Explain, NobodyIsKeptOutByNoSelector) {
  const auto explained =
      explain(std::vector{allow(1, Rights::of(Right::kRead), {})}, Identity{}, Right::kRead, kNow);
  EXPECT_FALSE(explained.decision.allowed);
  EXPECT_FALSE(explained.grants[0].matches);
  EXPECT_TRUE(explained.grants[0].failed.empty());
}

/// The decision that follows from the findings alone, as somebody who reads them would draw it.
bool allowed_by(const Explanation& explained) {
  bool allowed = false;
  for (const GrantFinding& finding : explained.grants) {
    if (!finding.applies()) continue;
    if (finding.deny) return false;
    allowed = true;
  }
  return allowed;
}

TEST(ExplainAtRandom, IsWhatIsDecidedAndEachReasonIsOne) {
  std::map<Part, int> parts;
  for (unsigned seed = 1; seed <= 60'000; ++seed) {
    RandomGrants random(seed);
    const std::vector<Grant> grants = random.grants();
    const Identity identity = random.identity();
    const Right right = random.right();
    const std::int64_t now = random.time();
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + describe(grants, identity));
    const Decision decision = decide(grants, identity, right, now);
    const Explanation explained = explain(grants, identity, right, now);
    ASSERT_EQ(explained.decision.allowed, decision.allowed);
    ASSERT_EQ(explained.decision.grant, decision.grant);
    ASSERT_EQ(explained.decision.code, decision.code);
    ASSERT_EQ(allowed_by(explained), decision.allowed);
    ASSERT_EQ(explained.grants.size(), grants.size());
    for (std::size_t i = 0; i < grants.size(); ++i) {
      const GrantFinding& finding = explained.grants[i];
      ++parts[finding.part];
      ASSERT_EQ(finding.id, grants[i].id);
      ASSERT_EQ(finding.part == Part::kDecides, decision.grant == finding.id);
      // Alone, an allow lets in just if nothing was found to keep it out.
      if (!grants[i].deny) {
        ASSERT_EQ(decide({&grants[i], 1}, identity, right, now).allowed, finding.applies());
      }
      // Whoever has the selectors that failed too is one of those it speaks of.
      if (!finding.failed.empty()) {
        Identity fuller = identity;
        fuller.selectors.insert(fuller.selectors.end(), finding.failed.begin(),
                                finding.failed.end());
        std::sort(fuller.selectors.begin(), fuller.selectors.end());
        ASSERT_FALSE(finding.matches);
        ASSERT_TRUE(grants[i].matches(fuller));
      }
    }
  }
  for (const Part part : {Part::kDecides, Part::kAgrees, Part::kOutweighed, Part::kNone}) {
    EXPECT_GT(parts[part], 300) << static_cast<int>(part);
  }
}

}  // namespace
}  // namespace coffer
