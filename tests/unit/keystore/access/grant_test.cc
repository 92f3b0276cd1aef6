#include "keystore/access/grant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "grants.h"
#include "tests/unit/keystore/access/grants.h"

namespace coffer {
namespace {

using testing::allow;
using testing::deny;
using testing::kNow;

Rights rights_of(std::initializer_list<Right> wanted) {
  Rights rights;
  for (const Right right : wanted) rights.add(right);
  return rights;
}

Identity user(uid_t uid, gid_t gid = 100) {
  Identity identity{.uid = uid, .gid = gid, .pid = 42, .selectors = {}};
  identity.selectors = {Selector::unix_uid(uid), Selector::unix_gid(gid)};
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

const Rights kAll = rights_of({Right::kList, Right::kRead, Right::kWrite});

TEST(Rights, AreNamed) {
  EXPECT_EQ(*right_from_name("list"), Right::kList);
  EXPECT_EQ(*right_from_name("read"), Right::kRead);
  EXPECT_EQ(*right_from_name("write"), Right::kWrite);
  for (const Right right : {Right::kList, Right::kRead, Right::kWrite}) {
    EXPECT_EQ(*right_from_name(to_string(right)), right);
  }
  for (const char* name : {"", "Read", "read ", "rw", "list,read", "unknown", "all"}) {
    const auto right = right_from_name(name);
    ASSERT_FALSE(right.ok()) << name;
    EXPECT_EQ(right.error().code, Code::kInvalid);
  }
}

TEST(Rights, AreWrittenInOneOrder) {
  EXPECT_EQ(to_string(rights_of({Right::kWrite, Right::kList})), "list,write");
  EXPECT_EQ(to_string(Rights{}), "");
  for (std::uint8_t bits = 1; bits < 8; ++bits) {
    EXPECT_EQ(*rights_from_text(to_string(Rights{bits})), Rights{bits});
  }
  for (const char* text : {"", ",", "list,", ",read", "list read", "list,fly"}) {
    EXPECT_FALSE(rights_from_text(text).ok()) << text;
  }
}

TEST(Lifetimes, AreNamed) {
  Grant grant;
  EXPECT_EQ(to_string(lifetime_at(grant, kNow)), "active");
  grant.not_before = kNow;
  grant.not_after = kNow + 10;
  EXPECT_EQ(to_string(lifetime_at(grant, kNow - 1)), "not yet");
  EXPECT_EQ(to_string(lifetime_at(grant, kNow)), "active");
  EXPECT_EQ(to_string(lifetime_at(grant, kNow + 10)), "expired");
  grant.revoked_at = kNow;
  for (const std::int64_t at : {kNow - 1, kNow, kNow + 10}) {
    EXPECT_EQ(to_string(lifetime_at(grant, at)), "revoked");
  }
}

TEST(Rights, HaveTheBitsOfTheKeystore) {
  EXPECT_EQ(rights_of({Right::kList}).bits, 1);
  EXPECT_EQ(rights_of({Right::kRead}).bits, 2);
  EXPECT_EQ(rights_of({Right::kWrite}).bits, 4);
  EXPECT_EQ(kAll.bits, 7);
}

TEST(Rights, CoverListingButNotEachOther) {
  struct Row {
    std::uint8_t bits;
    bool list, read, write;
  };
  const Row table[] = {{0, false, false, false}, {1, true, false, false}, {2, true, true, false},
                       {3, true, true, false},   {4, true, false, true},  {5, true, false, true},
                       {6, true, true, true},    {7, true, true, true}};
  for (const Row& row : table) {
    const Rights rights{row.bits};
    EXPECT_EQ(rights.cover(Right::kList), row.list) << int{row.bits};
    EXPECT_EQ(rights.cover(Right::kRead), row.read) << int{row.bits};
    EXPECT_EQ(rights.cover(Right::kWrite), row.write) << int{row.bits};
  }
}

TEST(Decide, DeniesByDefault) {
  for (const Right right : {Right::kList, Right::kRead, Right::kWrite}) {
    const Decision decision = decide({}, user(0), right, kNow);
    EXPECT_FALSE(decision.allowed);
    EXPECT_EQ(decision.code, Code::kDenied);
    EXPECT_FALSE(decision.grant.has_value());
    EXPECT_EQ(decision.reason, "no grant");
  }
}

TEST(Decide, AllowsByTheGrantItNames) {
  const std::vector<Grant> grants = {
      allow(3, rights_of({Right::kWrite}), {Selector::unix_uid(1000)}),
      allow(5, rights_of({Right::kRead}), {Selector::unix_uid(1000)}),
      allow(8, kAll, {Selector::unix_uid(1001)})};
  const Decision decision = decide(grants, user(1000), Right::kRead, kNow);
  EXPECT_TRUE(decision.allowed);
  EXPECT_EQ(decision.grant, GrantId{5});
  EXPECT_EQ(decision.reason, "granted");
  EXPECT_FALSE(decide(grants, user(1002), Right::kRead, kNow).allowed);
}

TEST(Decide, RootIsNobodySpecial) {
  const std::vector<Grant> grants = {allow(1, kAll, {Selector::unix_uid(1000)})};
  EXPECT_FALSE(decide(grants, user(0, 0), Right::kList, kNow).allowed);
}

TEST(Decide, AllSelectorsHaveToHold) {
  const std::vector<Grant> grants = {
      allow(1, kAll, {Selector::unix_uid(1000), Selector::unix_gid(200)})};
  EXPECT_TRUE(decide(grants, user(1000, 200), Right::kRead, kNow).allowed);
  EXPECT_FALSE(decide(grants, user(1000, 201), Right::kRead, kNow).allowed);
  EXPECT_FALSE(decide(grants, user(1001, 200), Right::kRead, kNow).allowed);
}

TEST(Decide, AnUnknownCallerIsNotPartOfEveryone) {
  const std::vector<Grant> grants = {allow(1, kAll, {})};
  EXPECT_TRUE(decide(grants, user(4711), Right::kWrite, kNow).allowed);
  EXPECT_FALSE(decide(grants, Identity{}, Right::kList, kNow).allowed);
  Identity named_but_unattested{.uid = 0, .gid = 0, .pid = 1, .selectors = {}};
  EXPECT_FALSE(decide(grants, named_but_unattested, Right::kList, kNow).allowed);
}

TEST(Decide, AGrantWithoutSelectorsIsNotToEveryone) {
  Grant grant = allow(1, kAll, {});
  grant.everyone = false;
  EXPECT_FALSE(grant.matches(user(1)));
  EXPECT_FALSE(decide({&grant, 1}, user(1), Right::kList, kNow).allowed);
}

TEST(Decide, AnExplicitDenyWinsInAnyOrder) {
  std::vector<Grant> grants = {allow(1, kAll, {}), allow(2, kAll, {Selector::unix_uid(1000)}),
                               deny(3, rights_of({Right::kRead}), {Selector::unix_gid(100)}),
                               allow(4, kAll, {Selector::unix_uid(1000)})};
  const auto by_id = [](const Grant& a, const Grant& b) { return a.id < b.id; };
  int orders = 0;
  do {
    const Decision decision = decide(grants, user(1000), Right::kRead, kNow);
    EXPECT_FALSE(decision.allowed);
    EXPECT_EQ(decision.code, Code::kDenied);
    EXPECT_EQ(decision.grant, GrantId{3});
    EXPECT_EQ(decision.reason, "denied by a grant");
    EXPECT_TRUE(decide(grants, user(1000), Right::kWrite, kNow).allowed);
    EXPECT_TRUE(decide(grants, user(1000, 99), Right::kRead, kNow).allowed);
    ++orders;
  } while (std::next_permutation(grants.begin(), grants.end(), by_id));
  EXPECT_EQ(orders, 24);
}

TEST(Decide, ADenyHoldsOfWhomTooLittleIsKnown) {
  const Selector program = *Selector::parse("unix:path:/usr/bin/curl");
  const Selector unit = *Selector::parse("systemd:id:a.service");
  const std::vector<Grant> grants = {allow(1, kAll, {Selector::unix_uid(1000)}),
                                     allow(2, kAll, {program}),
                                     deny(3, kAll, {Selector::unix_uid(1000), program, unit})};
  Identity who = user(1000);
  EXPECT_TRUE(decide(grants, who, Right::kRead, kNow).allowed);
  // Neither was read; then one was, and is another.
  who.known = Sources{};
  Decision decision = decide(grants, who, Right::kRead, kNow);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.code, Code::kDenied);
  EXPECT_EQ(decision.grant, GrantId{3});
  EXPECT_EQ(decision.reason, "perhaps denied by a grant: too little is known of the process");
  who.known = Sources::of(Source::kExecutable);
  EXPECT_TRUE(decide(grants, who, Right::kRead, kNow).allowed);
  // One holds, of the other nothing is known; then both hold.
  who.selectors.push_back(program);
  std::sort(who.selectors.begin(), who.selectors.end());
  EXPECT_FALSE(decide(grants, who, Right::kRead, kNow).allowed);
  who.known.add(Sources::of(Source::kCgroup));
  EXPECT_TRUE(decide(grants, who, Right::kRead, kNow).allowed);
  who.selectors.push_back(unit);
  std::sort(who.selectors.begin(), who.selectors.end());
  EXPECT_EQ(decide(grants, who, Right::kRead, kNow).reason, "denied by a grant");
  // What is not known lets nobody in, and does not refuse another user.
  Identity other = user(1001);
  other.known = Sources{};
  EXPECT_EQ(decide(grants, other, Right::kRead, kNow).reason, "no grant");
}

/// Of user 1, once in a unit that is gone.
Identity left_behind() {
  Identity identity = user(1);
  identity.past = {*Selector::parse("systemd:id:job.service")};
  return identity;
}

TEST(Decide, WhatHoldsNoMoreLetsNobodyIn) {
  const auto in_unit = *Selector::parse("systemd:id:job.service");
  const std::vector<Grant> grants = {allow(7, kAll, {in_unit, Selector::unix_uid(1)})};
  const Decision decision = decide(grants, left_behind(), Right::kRead, kNow);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.code, Code::kRevoked);
  EXPECT_EQ(decision.grant, GrantId{7});
  EXPECT_EQ(decision.reason, "the control group that the grant names is gone");
  // Another grant is as good.
  EXPECT_TRUE(decide(std::vector{grants[0], allow(8, kAll, {Selector::unix_uid(1)})}, left_behind(),
                     Right::kRead, kNow)
                  .allowed);
  EXPECT_TRUE(decide(std::vector{allow(8, kAll, {Selector::unix_uid(1)}), grants[0]}, left_behind(),
                     Right::kRead, kNow)
                  .allowed);
  // Whoever never was in it hears nothing of it.
  EXPECT_EQ(decide(grants, user(1), Right::kRead, kNow).code, Code::kDenied);
}

TEST(Decide, ADenyHoldsByWhatHoldsNoMore) {
  const std::vector<Grant> grants = {allow(7, kAll, {Selector::unix_uid(1)}),
                                     deny(8, kAll, {*Selector::parse("systemd:id:job.service")})};
  const Decision decision = decide(grants, left_behind(), Right::kRead, kNow);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.grant, GrantId{8});
  EXPECT_TRUE(decide(grants, user(1), Right::kRead, kNow).allowed);
}

TEST(Decide, ADenyHitsExactlyTheRightsItNames) {
  for (const Right denied : {Right::kList, Right::kRead, Right::kWrite}) {
    const std::vector<Grant> grants = {allow(1, kAll, {}), deny(2, rights_of({denied}), {})};
    for (const Right wanted : {Right::kList, Right::kRead, Right::kWrite}) {
      EXPECT_EQ(decide(grants, user(1), wanted, kNow).allowed, wanted != denied)
          << to_string(denied) << " denied, " << to_string(wanted) << " wanted";
    }
  }
}

TEST(Decide, AWindowIsClosedBelowAndOpenAbove) {
  Grant grant = allow(1, kAll, {});
  grant.not_before = kNow;
  grant.not_after = kNow + 10;
  struct Row {
    std::int64_t at;
    bool allowed;
    Code code;
  };
  const Row table[] = {
      {kNow - 1, false, Code::kDenied},   {kNow, true, Code::kDenied},
      {kNow + 9, true, Code::kDenied},    {kNow + 10, false, Code::kExpired},
      {kNow + 11, false, Code::kExpired}, {INT64_MIN, false, Code::kDenied},
      {INT64_MAX, false, Code::kExpired},
  };
  for (const Row& row : table) {
    const Decision decision = decide({&grant, 1}, user(1), Right::kRead, row.at);
    EXPECT_EQ(decision.allowed, row.allowed) << row.at;
    EXPECT_EQ(decision.code, row.code) << row.at;
  }
}

TEST(Decide, ADenyOutOfItsTimeOrRevokedHitsNobody) {
  Grant refusal = deny(2, kAll, {});
  const auto allowed = [&](std::int64_t now) {
    const std::vector<Grant> grants = {refusal, allow(1, kAll, {})};
    return decide(grants, user(1), Right::kRead, now).allowed;
  };
  refusal.not_before = kNow;
  refusal.not_after = kNow + 10;
  EXPECT_TRUE(allowed(kNow - 1));
  EXPECT_FALSE(allowed(kNow));
  EXPECT_FALSE(allowed(kNow + 9));
  EXPECT_TRUE(allowed(kNow + 10));
  refusal.revoked_at = kNow + 2;
  EXPECT_TRUE(allowed(kNow + 5));
}

TEST(Decide, SaysThatAGrantWasRevokedOrHasExpired) {
  Grant revoked = allow(1, kAll, {});
  revoked.revoked_at = kNow - 5;
  Grant expired = allow(2, kAll, {});
  expired.not_after = kNow - 5;

  const Decision by_revocation = decide({&revoked, 1}, user(1), Right::kRead, kNow);
  EXPECT_FALSE(by_revocation.allowed);
  EXPECT_EQ(by_revocation.code, Code::kRevoked);
  EXPECT_EQ(by_revocation.grant, GrantId{1});

  // The newest of those that are over names the cause.
  std::vector<Grant> grants = {revoked, expired};
  EXPECT_EQ(decide(grants, user(1), Right::kRead, kNow).code, Code::kExpired);
  EXPECT_EQ(decide(grants, user(1), Right::kRead, kNow).grant, GrantId{2});
  std::swap(grants[0], grants[1]);
  EXPECT_EQ(decide(grants, user(1), Right::kRead, kNow).code, Code::kRevoked);

  // Both at once: it was revoked.
  expired.revoked_at = kNow;
  EXPECT_EQ(decide({&expired, 1}, user(1), Right::kRead, kNow).code, Code::kRevoked);

  // A live one outweighs them, whatever the order; a deny does too.
  grants.push_back(allow(3, kAll, {}));
  EXPECT_TRUE(decide(grants, user(1), Right::kRead, kNow).allowed);
  std::rotate(grants.begin(), grants.end() - 1, grants.end());
  EXPECT_TRUE(decide(grants, user(1), Right::kRead, kNow).allowed);
  grants.push_back(deny(4, kAll, {}));
  EXPECT_EQ(decide(grants, user(1), Right::kRead, kNow).code, Code::kDenied);
}

TEST(Decide, ARevocationInTheFutureOrOfAnotherRightDoesNotNameTheCause) {
  // revoked_at says that it is revoked, at whatever time: clocks of two machines differ.
  Grant revoked = allow(1, rights_of({Right::kWrite}), {});
  revoked.revoked_at = kNow + 1000;
  EXPECT_EQ(decide({&revoked, 1}, user(1), Right::kWrite, kNow).code, Code::kRevoked);
  EXPECT_EQ(decide({&revoked, 1}, user(1), Right::kRead, kNow).code, Code::kDenied);
  EXPECT_EQ(decide({&revoked, 1}, Identity{}, Right::kWrite, kNow).code, Code::kDenied);
}

}  // namespace
}  // namespace coffer
