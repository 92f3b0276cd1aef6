#include "keystore/access/proposal.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "grants.h"
#include "tests/unit/keystore/access/grants.h"

namespace coffer {
namespace {

using testing::allow;
using testing::deny;
using testing::kNow;

const Rights kList = Rights::of(Right::kList);
const Rights kRead = Rights::of(Right::kRead);
const Rights kWrite = Rights::of(Right::kWrite);

std::vector<Selector> sorted(std::vector<Selector> selectors) {
  std::sort(selectors.begin(), selectors.end());
  return selectors;
}

/// uid, its own gid, and a team.
std::vector<Selector> member(uid_t uid, gid_t team) {
  return sorted(
      {Selector::unix_uid(uid), Selector::unix_gid(uid), Selector::unix_supplementary_gid(team)});
}

Observation asked(std::vector<Selector> who, Rights rights,
                  std::optional<GrantId> refused_by = std::nullopt) {
  return {.selectors = sorted(std::move(who)), .rights = rights, .refused_by = refused_by};
}

TEST(Propose, NothingForNothing) {
  const Proposal proposal = propose({}, {}, kNow, {});
  EXPECT_TRUE(proposal.grants.empty());
  EXPECT_TRUE(proposal.left_out.empty());
  EXPECT_TRUE(proposal.smallest);
}

TEST(Propose, AllThatIsKnownOfOneCaller) {
  const auto proposal =
      propose(std::vector{asked(member(1, 7), kList), asked(member(1, 7), kRead)}, {}, kNow, {});
  ASSERT_EQ(proposal.grants.size(), 1U);
  EXPECT_EQ(proposal.grants[0].selectors, member(1, 7));
  EXPECT_EQ(proposal.grants[0].rights, kRead) << "which includes listing";
  EXPECT_EQ(proposal.grants[0].identities, 1U);
}

TEST(Propose, OneGrantForWhatCallersHaveInCommon) {
  const auto proposal = propose(std::vector{asked(member(1, 7), kRead), asked(member(2, 7), kRead),
                                            asked(member(3, 7), kRead)},
                                {}, kNow, {});
  ASSERT_EQ(proposal.grants.size(), 1U);
  EXPECT_EQ(proposal.grants[0].selectors, std::vector{Selector::unix_supplementary_gid(7)});
  EXPECT_EQ(proposal.grants[0].identities, 3U);
}

TEST(Propose, NotForOneWhoDidNotAskForIt) {
  const auto proposal = propose(std::vector{asked(member(1, 7), kRead), asked(member(2, 7), kRead),
                                            asked(member(3, 7), kList)},
                                {}, kNow, {});
  ASSERT_EQ(proposal.grants.size(), 3U);
  EXPECT_EQ(proposal.grants[0].selectors, member(1, 7));
  EXPECT_EQ(proposal.grants[1].selectors, member(2, 7));
  EXPECT_EQ(proposal.grants[2].rights, kList);
}

TEST(Propose, NeverForWhomAGrantDenies) {
  const std::vector<Grant> grants = {deny(1, kRead, {Selector::unix_uid(3)})};
  const std::vector<Observation> seen = {asked(member(1, 7), kRead), asked(member(2, 7), kRead),
                                         asked(member(3, 7), kRead, GrantId{1})};
  const auto proposal = propose(seen, grants, kNow, {});
  ASSERT_EQ(proposal.grants.size(), 2U) << "the team would have the denied one in it";
  ASSERT_EQ(proposal.left_out.size(), 1U);
  EXPECT_EQ(proposal.left_out[0].selectors, member(3, 7));
  EXPECT_EQ(proposal.left_out[0].why, LeftOut::Why::kDenied);

  // Nor if the deny was revoked since: somebody did not want it.
  std::vector<Grant> revoked = grants;
  revoked[0].revoked_at = kNow;
  EXPECT_EQ(propose(seen, revoked, kNow, {}).grants.size(), 2U);
  EXPECT_EQ(propose(seen, revoked, kNow, {}).left_out.size(), 1U);
}

TEST(Propose, NothingToWhomListingIsDenied) {
  const std::vector<Grant> grants = {deny(1, kList, {Selector::unix_uid(1)})};
  const auto proposal =
      propose(std::vector{asked(member(1, 7), kList, GrantId{1}), asked(member(1, 7), kRead)},
              grants, kNow, {});
  EXPECT_TRUE(proposal.grants.empty());
  ASSERT_EQ(proposal.left_out.size(), 1U);
  EXPECT_EQ(to_string(proposal.left_out[0].rights), "list,read");
}

TEST(Propose, WhatIsAllowedAlreadyOnlyIfAskedTo) {
  const std::vector<Grant> grants = {allow(1, kRead, {})};
  const std::vector<Observation> seen = {asked(member(1, 7), kRead), asked(member(2, 8), kRead),
                                         asked(member(2, 8), kWrite)};
  const auto needed = propose(seen, grants, kNow, {});
  ASSERT_EQ(needed.grants.size(), 1U);
  EXPECT_EQ(needed.grants[0].selectors, member(2, 8));
  EXPECT_EQ(needed.grants[0].rights, kWrite);
  EXPECT_EQ(needed.identities, 2U);
  EXPECT_EQ(needed.allowed_already, 1U);

  const auto all = propose(seen, grants, kNow, {.all = true, .without = {}});
  ASSERT_EQ(all.grants.size(), 2U);
  EXPECT_EQ(all.grants[0].rights, kRead);
  EXPECT_EQ(to_string(all.grants[1].rights), "read,write");
}

TEST(Propose, WhatAGrantAllowedThatIsOverSince) {
  std::vector<Grant> grants = {allow(1, kRead, {Selector::unix_uid(1)})};
  grants[0].revoked_at = kNow - 1;
  const auto proposal =
      propose(std::vector{asked(member(1, 7), kRead, GrantId{1})}, grants, kNow, {});
  EXPECT_EQ(proposal.grants.size(), 1U) << "refused by a grant that is over, not by a deny";
  EXPECT_TRUE(proposal.left_out.empty());
}

TEST(Propose, NothingForCallersThatNothingTellsApart) {
  // Whatever speaks to the first speaks to the second, who did not write.
  const auto more = sorted({Selector::unix_uid(1), Selector::unix_supplementary_gid(7)});
  const auto proposal = propose(
      std::vector{asked({Selector::unix_uid(1)}, kWrite), asked(more, kList)}, {}, kNow, {});
  ASSERT_EQ(proposal.left_out.size(), 1U);
  EXPECT_EQ(proposal.left_out[0].selectors, std::vector{Selector::unix_uid(1)});
  EXPECT_EQ(proposal.left_out[0].why, LeftOut::Why::kNotApart);
  ASSERT_EQ(proposal.grants.size(), 1U);
  EXPECT_EQ(proposal.grants[0].selectors, more);
}

TEST(Propose, NothingForUnknownCallers) {
  const auto proposal = propose(std::vector{asked({}, kRead)}, {}, kNow, {});
  EXPECT_TRUE(proposal.grants.empty());
  ASSERT_EQ(proposal.left_out.size(), 1U);
  EXPECT_EQ(proposal.left_out[0].why, LeftOut::Why::kUnknownCaller);
}

TEST(Propose, WithoutSelectorsOfOneOccasion) {
  const std::vector<Observation> seen = {asked(member(1, 7), kRead)};
  const auto proposal =
      propose(seen, {}, kNow, {.all = false, .without = {"unix:gid", "unix:supplementary_gid"}});
  ASSERT_EQ(proposal.grants.size(), 1U);
  EXPECT_EQ(proposal.grants[0].selectors, std::vector{Selector::unix_uid(1)});
  const auto nothing_left = propose(seen, {}, kNow, {.all = false, .without = {"unix"}});
  EXPECT_TRUE(nothing_left.grants.empty()) << "never a grant without selectors";
  ASSERT_EQ(nothing_left.left_out.size(), 1U);
  EXPECT_EQ(nothing_left.left_out[0].why, LeftOut::Why::kNotApart);
}

TEST(Propose, OneGrantForThousandsOfATeam) {
  std::vector<Observation> seen;
  for (uid_t uid = 1; uid <= 4'000; ++uid) seen.push_back(asked(member(uid, 7), kRead));
  const auto proposal = propose(seen, {}, kNow, {});
  ASSERT_EQ(proposal.grants.size(), 1U);
  EXPECT_EQ(proposal.grants[0].selectors, std::vector{Selector::unix_supplementary_gid(7)});
  EXPECT_EQ(proposal.grants[0].identities, 4'000U);
}

TEST(Propose, EndsWhateverWasSeen) {
  // Overlapping teams without order: exponentially many intersections.
  std::vector<Observation> seen;
  for (unsigned i = 0; i < 400; ++i) {
    std::vector<Selector> who = {Selector::unix_uid(i)};
    for (unsigned team = 0; team < 40; ++team) {
      if ((i * 2654435761U >> (team % 31)) % 3 != 0)
        who.push_back(Selector::unix_supplementary_gid(team));
    }
    seen.push_back(asked(who, i % 5 == 0 ? kWrite : kRead));
  }
  const auto proposal = propose(seen, {}, kNow, {});
  EXPECT_FALSE(proposal.smallest);
  std::vector<Grant> grants;
  for (const ProposedGrant& proposed : proposal.grants)
    grants.push_back(allow(1, proposed.rights, proposed.selectors));
  for (const Observation& observation : seen) {
    const Identity identity{.selectors = observation.selectors};
    for (const Right right : {Right::kRead, Right::kWrite}) {
      EXPECT_EQ(decide(grants, identity, right, kNow).allowed, observation.rights.contains(right));
    }
  }
}

}  // namespace
}  // namespace coffer
