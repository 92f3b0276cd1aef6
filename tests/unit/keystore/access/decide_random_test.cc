// decide() against a second opinion, written from DESIGN's words and in another way.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "keystore/access/grant.h"

namespace coffer {
namespace {

using Facts = std::set<std::string>;

struct Verdict {
  bool allowed = false;
  Code code = Code::kDenied;
  std::int64_t grant = -1;  // -1: none
  bool operator==(const Verdict&) const = default;
};

enum class Life { kNotYet, kLive, kExpired, kRevoked };

Life life_at(const Grant& grant, std::int64_t now) {
  if (grant.not_before && *grant.not_before > now) return Life::kNotYet;
  if (grant.revoked_at) return Life::kRevoked;
  if (grant.not_after && *grant.not_after <= now) return Life::kExpired;
  return Life::kLive;
}

bool concerns(const Grant& grant, const Facts& facts) {
  if (facts.empty()) return false;
  if (grant.everyone) return true;
  Facts needed;
  for (const Selector& selector : grant.selectors) needed.insert(selector.text());
  return !needed.empty() && std::includes(facts.begin(), facts.end(), needed.begin(), needed.end());
}

std::set<std::string> rights_named(Rights rights) {
  std::set<std::string> names;
  if (rights.bits & 1) names.insert("list");
  if (rights.bits & 2) names.insert("read");
  if (rights.bits & 4) names.insert("write");
  return names;
}

/// First every deny is asked, then every live allow, then what is over.
Verdict second_opinion(const std::vector<Grant>& grants, const Facts& facts,
                       const std::string& wanted, std::int64_t now) {
  for (const Grant& grant : grants) {
    if (grant.deny && concerns(grant, facts) && life_at(grant, now) == Life::kLive &&
        rights_named(grant.rights).count(wanted) > 0) {
      return {false, Code::kDenied, grant.id.value};
    }
  }
  std::vector<const Grant*> giving;
  for (const Grant& grant : grants) {
    std::set<std::string> given = rights_named(grant.rights);
    if (given.count("read") + given.count("write") > 0) given.insert("list");
    if (!grant.deny && concerns(grant, facts) && given.count(wanted) > 0) giving.push_back(&grant);
  }
  for (const Grant* grant : giving) {
    if (life_at(*grant, now) == Life::kLive) return {true, Code::kDenied, grant->id.value};
  }
  Verdict verdict;
  for (const Grant* grant : giving) {
    const Life life = life_at(*grant, now);
    if (life == Life::kRevoked) verdict = {false, Code::kRevoked, grant->id.value};
    if (life == Life::kExpired) verdict = {false, Code::kExpired, grant->id.value};
  }
  return verdict;
}

/// Small worlds, so that selectors meet, windows touch and denies hit.
class World {
 public:
  explicit World(unsigned seed) : random_(seed) {}

  std::vector<Grant> grants() {
    std::vector<Grant> all;
    const unsigned count = below(7);
    for (unsigned i = 0; i < count; ++i) {
      Grant grant;
      grant.id = GrantId{static_cast<std::int64_t>(i) + 1};
      grant.scope = kRootScope;
      grant.deny = below(4) == 0;
      grant.rights.bits = static_cast<std::uint8_t>(below(8));
      grant.everyone = below(5) == 0;
      const unsigned selectors = grant.everyone ? 0 : below(4);
      for (unsigned k = 0; k < selectors; ++k) grant.selectors.push_back(selector());
      if (below(3) == 0) grant.not_before = time();
      if (below(3) == 0) grant.not_after = time();
      if (below(5) == 0) grant.revoked_at = time();
      all.push_back(std::move(grant));
    }
    std::shuffle(all.begin(), all.end(), random_);
    return all;
  }

  Identity identity() {
    Identity identity;
    const unsigned count = below(8);
    for (unsigned i = 0; i < count; ++i) identity.selectors.push_back(selector());
    std::sort(identity.selectors.begin(), identity.selectors.end());
    identity.selectors.erase(std::unique(identity.selectors.begin(), identity.selectors.end()),
                             identity.selectors.end());
    return identity;
  }

  std::int64_t time() { return static_cast<std::int64_t>(below(6)) - 2; }

 private:
  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  Selector selector() {
    const unsigned id = below(3);
    switch (below(3)) {
      case 0:
        return Selector::unix_uid(id);
      case 1:
        return Selector::unix_gid(id);
      default:
        return Selector::unix_supplementary_gid(id);
    }
  }

  std::mt19937 random_;
};

std::string describe(const std::vector<Grant>& grants, const Facts& facts) {
  std::ostringstream out;
  out << "identity {";
  for (const std::string& fact : facts) out << " " << fact;
  out << " }\n";
  const auto number = [](const std::optional<std::int64_t>& value) {
    return value ? std::to_string(*value) : std::string("-");
  };
  for (const Grant& grant : grants) {
    out << "grant " << grant.id.value << (grant.deny ? " deny" : " allow") << " rights "
        << int{grant.rights.bits} << (grant.everyone ? " everyone" : "") << " window "
        << number(grant.not_before) << " to " << number(grant.not_after) << " revoked "
        << number(grant.revoked_at);
    for (const Selector& selector : grant.selectors) out << " " << selector.text();
    out << "\n";
  }
  return out.str();
}

TEST(DecideAtRandom, AgreesWithASecondOpinion) {
  std::map<std::string, int> seen;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    World world(seed);
    for (int round = 0; round < 4'000; ++round) {
      const std::vector<Grant> grants = world.grants();
      const Identity identity = world.identity();
      Facts facts;
      for (const Selector& selector : identity.selectors) facts.insert(selector.text());
      const std::int64_t now = world.time();
      for (const Right right : {Right::kList, Right::kRead, Right::kWrite}) {
        const Decision decision = decide(grants, identity, right, now);
        const Verdict said{decision.allowed, decision.code,
                           decision.grant ? decision.grant->value : -1};
        const Verdict expected = second_opinion(grants, facts, std::string(to_string(right)), now);
        ASSERT_EQ(said, expected) << "seed " << seed << " round " << round << " right "
                                  << to_string(right) << " now " << now << ": said " << said.allowed
                                  << " by " << said.grant << " (" << to_string(said.code)
                                  << "), expected " << expected.allowed << " by " << expected.grant
                                  << " (" << to_string(expected.code) << ")\n"
                                  << describe(grants, facts);
        ++seen[std::string(decision.reason)];
      }
    }
  }
  // 144,000 decisions, and of every kind enough to mean something.
  for (const char* reason :
       {"no grant", "granted", "denied by a grant", "grant was revoked", "grant has expired"}) {
    EXPECT_GT(seen[reason], 1000) << reason;
  }
}

}  // namespace
}  // namespace coffer
