// decide() against a second opinion, written from DESIGN's words and in another way; and what has
// to hold of it whatever the grants are.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>

#include "random_grants.h"

namespace coffer {
namespace {

using testing::describe;
using testing::RandomGrants;

using Facts = std::set<std::string>;

struct Verdict {
  bool allowed = false;
  Code code = Code::kDenied;
  std::int64_t grant = -1;  // -1: none
  bool operator==(const Verdict&) const = default;
};

enum class Life { kNotYet, kLive, kExpired, kRevoked };

/// A grant in the words of the design: names, not bits and sorted vectors.
struct Spoken {
  const Grant* grant = nullptr;
  Facts needed;
  std::set<std::string> named;
  std::set<std::string> given;

  explicit Spoken(const Grant& told) : grant(&told) {
    for (const Selector& selector : told.selectors) needed.insert(selector.text());
    if (told.rights.bits & 1) named.insert("list");
    if (told.rights.bits & 2) named.insert("read");
    if (told.rights.bits & 4) named.insert("write");
    given = named;
    if (named.count("read") + named.count("write") > 0) given.insert("list");
  }

  [[nodiscard]] Life life_at(std::int64_t now) const {
    if (grant->not_before && *grant->not_before > now) return Life::kNotYet;
    if (grant->revoked_at) return Life::kRevoked;
    if (grant->not_after && *grant->not_after <= now) return Life::kExpired;
    return Life::kLive;
  }

  [[nodiscard]] bool concerns(const Facts& facts) const {
    if (facts.empty()) return false;
    if (grant->everyone) return true;
    return !needed.empty() &&
           std::includes(facts.begin(), facts.end(), needed.begin(), needed.end());
  }
};

/// First every deny is asked, then every live allow, then what is over.
Verdict second_opinion(const std::vector<Spoken>& grants, const Facts& facts,
                       const std::string& wanted, std::int64_t now) {
  for (const Spoken& spoken : grants) {
    if (spoken.grant->deny && spoken.concerns(facts) && spoken.life_at(now) == Life::kLive &&
        spoken.named.count(wanted) > 0) {
      return {false, Code::kDenied, spoken.grant->id.value};
    }
  }
  std::vector<const Spoken*> giving;
  for (const Spoken& spoken : grants) {
    if (!spoken.grant->deny && spoken.concerns(facts) && spoken.given.count(wanted) > 0)
      giving.push_back(&spoken);
  }
  for (const Spoken* spoken : giving) {
    if (spoken->life_at(now) == Life::kLive) return {true, Code::kDenied, spoken->grant->id.value};
  }
  Verdict verdict;
  for (const Spoken* spoken : giving) {
    const Life life = spoken->life_at(now);
    if (life == Life::kRevoked) verdict = {false, Code::kRevoked, spoken->grant->id.value};
    if (life == Life::kExpired) verdict = {false, Code::kExpired, spoken->grant->id.value};
  }
  return verdict;
}

TEST(DecideAtRandom, AgreesWithASecondOpinion) {
  constexpr int kDecisions = 1'000'000;
  std::map<std::string, int> seen;
  int made = 0;
  for (unsigned seed = 1; made < kDecisions; ++seed) {
    RandomGrants random(seed);
    const std::vector<Grant> grants = random.grants();
    const std::vector<Spoken> spoken(grants.begin(), grants.end());
    for (int caller = 0; caller < 8; ++caller) {
      const Identity identity = random.identity();
      Facts facts;
      for (const Selector& selector : identity.selectors) facts.insert(selector.text());
      for (std::int64_t now = -3; now <= 4; ++now) {
        for (const Right right : kAllRights) {
          const Decision decision = decide(grants, identity, right, now);
          const Verdict said{decision.allowed, decision.code,
                             decision.grant ? decision.grant->value : -1};
          const Verdict expected =
              second_opinion(spoken, facts, std::string(to_string(right)), now);
          ASSERT_EQ(said, expected)
              << "seed " << seed << " right " << to_string(right) << " now " << now << ": said "
              << said.allowed << " by " << said.grant << " (" << to_string(said.code)
              << "), expected " << expected.allowed << " by " << expected.grant << " ("
              << to_string(expected.code) << ")\n"
              << describe(grants, identity);
          ++seen[std::string(decision.reason)];
          ++made;
        }
      }
    }
  }
  // Of every kind enough to mean something.
  for (const char* reason :
       {"no grant", "granted", "denied by a grant", "grant was revoked", "grant has expired"}) {
    EXPECT_GT(seen[reason], 10'000) << reason;
  }
}

TEST(DecideAtRandom, IsMovedByMoreGrantsInOneDirectionOnly) {
  int withdrawn = 0;
  int opened = 0;
  for (unsigned seed = 1; seed <= 50'000; ++seed) {
    RandomGrants random(seed);
    std::vector<Grant> grants = random.grants();
    const Identity identity = random.identity();
    const Right right = random.right();
    const std::int64_t now = random.time();
    const bool before = decide(grants, identity, right, now).allowed;

    random.shuffle(grants);
    ASSERT_EQ(decide(grants, identity, right, now).allowed, before)
        << "seed " << seed << ": the order decides\n"
        << describe(grants, identity);

    Grant more = random.grant(100);
    grants.push_back(more);
    random.shuffle(grants);
    const bool after = decide(grants, identity, right, now).allowed;
    if (more.deny) {
      ASSERT_FALSE(after && !before) << "seed " << seed << ": a deny allowed\n"
                                     << describe(grants, identity);
      withdrawn += before && !after ? 1 : 0;
    } else {
      ASSERT_FALSE(before && !after) << "seed " << seed << ": an allow refused\n"
                                     << describe(grants, identity);
      opened += after && !before ? 1 : 0;
    }
  }
  EXPECT_GT(withdrawn, 100);
  EXPECT_GT(opened, 500);
}

TEST(DecideAtRandom, KnowingMoreOfACallerWithoutADenyRefusesNothing) {
  int opened = 0;
  for (unsigned seed = 1; seed <= 50'000; ++seed) {
    RandomGrants random(seed);
    std::vector<Grant> grants = random.grants();
    for (Grant& grant : grants) grant.deny = false;
    Identity identity = random.identity();
    const Right right = random.right();
    const std::int64_t now = random.time();
    const bool before = decide(grants, identity, right, now).allowed;
    identity.selectors.push_back(random.selector());
    std::sort(identity.selectors.begin(), identity.selectors.end());
    const bool after = decide(grants, identity, right, now).allowed;
    ASSERT_FALSE(before && !after) << "seed " << seed << "\n" << describe(grants, identity);
    opened += after && !before ? 1 : 0;
  }
  EXPECT_GT(opened, 500);
}

}  // namespace
}  // namespace coffer
