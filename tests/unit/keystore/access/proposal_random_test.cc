// propose() on random worlds: held to decide(), and to a search through all sets of grants there
// could be.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "keystore/access/proposal.h"
#include "random_grants.h"

namespace coffer {
namespace {

using testing::describe;
using testing::RandomGrants;

using Told = std::vector<Selector>;

Grant made_of(const ProposedGrant& proposed, std::int64_t id) {
  Grant grant;
  grant.id = GrantId{id};
  grant.scope = kRootScope;
  grant.rights = proposed.rights;
  grant.selectors = proposed.selectors;
  return grant;
}

/// What was seen and what there is, and what follows for each identity by the words of proposal.h.
struct World {
  std::vector<Grant> grants;
  std::vector<Observation> seen;
  std::int64_t now = 0;
  bool all = false;
  std::map<Told, Rights> asked;
  std::map<Told, Rights> denied;

  explicit World(unsigned seed) {
    RandomGrants random(seed);
    grants = random.grants();
    if (seed % 3 == 0) grants.clear();
    now = random.time();
    all = random.below(4) == 0;
    std::vector<Told> identities;
    for (unsigned i = 0; i < 1 + random.below(4); ++i)
      identities.push_back(random.identity().selectors);
    for (unsigned i = 0; i < 1 + random.below(9); ++i) {
      const Told& facts = identities[random.below(identities.size())];
      const Right right = random.right();
      const Decision decision = decide(grants, Identity{.selectors = facts}, right, now);
      Observation observation{
          .selectors = facts, .rights = Rights::of(right), .refused_by = std::nullopt};
      if (!decision.allowed) observation.refused_by = decision.grant;
      asked[facts].add(right);
      if (!decision.allowed && decision.reason == "denied by a grant") denied[facts].add(right);
      seen.push_back(std::move(observation));
    }
  }

  /// Whether a grant that gives it may speak to this identity.
  [[nodiscard]] bool proper(const Told& facts, Right right) const {
    const auto none = denied.find(facts);
    const Rights no = none == denied.end() ? Rights{} : none->second;
    if (no.contains(right) || no.contains(Right::kList)) return false;
    const Rights yes = asked.at(facts);
    if (yes.contains(right)) return true;
    return right == Right::kList && ((yes.contains(Right::kRead) && !no.contains(Right::kRead)) ||
                                     (yes.contains(Right::kWrite) && !no.contains(Right::kWrite)));
  }
  [[nodiscard]] bool proper(const Told& selectors, Rights rights) const {
    for (const auto& [facts, ignored] : asked) {
      if (!std::includes(facts.begin(), facts.end(), selectors.begin(), selectors.end())) continue;
      for (const Right right : kAllRights) {
        if (rights.cover(right) && !proper(facts, right)) return false;
      }
    }
    return true;
  }
  /// By the grant that speaks to as few as possible: the one that names all that is known.
  [[nodiscard]] bool can_be_given(const Told& facts, Right right) const {
    return proper(facts, Rights::of(right));
  }
};

using Wants = std::vector<std::pair<Told, Right>>;

/// Every way in which one proper grant can serve some of what is wanted, as bits: by any selectors
/// and any rights at all.
std::set<unsigned> ways_to_serve(const World& world, const Wants& wants) {
  std::set<Selector> known;
  for (const auto& [facts, rights] : world.asked) known.insert(facts.begin(), facts.end());
  const Told all(known.begin(), known.end());
  std::set<unsigned> ways;
  for (unsigned chosen = 1; chosen < 1U << all.size(); ++chosen) {
    Told selectors;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if ((chosen >> i & 1U) != 0) selectors.push_back(all[i]);
    }
    for (std::uint8_t bits = 1; bits < 8; ++bits) {
      unsigned served = 0;
      for (std::size_t i = 0; i < wants.size(); ++i) {
        const auto& [facts, right] = wants[i];
        if (Rights{bits}.cover(right) &&
            std::includes(facts.begin(), facts.end(), selectors.begin(), selectors.end()))
          served |= 1U << i;
      }
      if (served != 0 && world.proper(selectors, Rights{bits})) ways.insert(served);
    }
  }
  return ways;
}

/// The fewest that serve all; layer by layer.
std::size_t fewest(const std::set<unsigned>& ways, unsigned all) {
  std::set<unsigned> reached = {0};
  for (std::size_t count = 0;; ++count) {
    if (reached.count(all) > 0) return count;
    std::set<unsigned> next;
    for (const unsigned mask : reached) {
      for (const unsigned way : ways) next.insert(mask | way);
    }
    reached = std::move(next);
  }
}

std::string describe(const World& world, const Proposal& proposal) {
  std::string text = world.all ? "all" : "what is refused";
  for (const Observation& observation : world.seen)
    text += "\nseen" + describe(observation.selectors) + " " + to_string(observation.rights);
  for (const ProposedGrant& grant : proposal.grants)
    text += "\nproposed" + describe(grant.selectors) + " " + to_string(grant.rights);
  return text + "\n" + describe(world.grants, {});
}

/// A world and what is proposed for it.
class Proposed {
 public:
  explicit Proposed(unsigned seed)
      : world(seed),
        proposal(propose(world.seen, world.grants, world.now, {.all = world.all, .without = {}})) {
    for (const ProposedGrant& grant : proposal.grants)
      proposed_.push_back(made_of(grant, 1000 + static_cast<std::int64_t>(proposed_.size())));
    base_ = world.grants;
    // Of all that was seen, the proposal stands for itself; but for the grants that deny.
    if (world.all) std::erase_if(base_, [](const Grant& grant) { return !grant.deny; });
    together_ = base_;
    together_.insert(together_.end(), proposed_.begin(), proposed_.end());
    for (const LeftOut& left : proposal.left_out) missing_[left.selectors].bits |= left.rights.bits;
    for (const auto& [facts, rights] : world.asked) {
      for (const Right right : kAllRights) {
        if (rights.contains(right) && !missing_[facts].contains(right) &&
            !allowed(base_, facts, right))
          wants.emplace_back(facts, right);
      }
    }
  }

  /// All that was seen is allowed, but what was left out; nothing else becomes so.
  void check_outcome() {
    for (const auto& [facts, rights] : world.asked) {
      for (const Right right : kAllRights) {
        ASSERT_TRUE(world.proper(facts, right) || !allowed(proposed_, facts, right));
        if (!rights.contains(right)) continue;
        const bool missing = missing_[facts].contains(right);
        ASSERT_EQ(allowed(together_, facts, right), !missing) << to_string(right);
        // What was left out can't be given without giving what was not seen.
        ASSERT_FALSE(missing && !facts.empty() && world.can_be_given(facts, right));
      }
    }
  }

  /// No grant could be left away, nor any right of one.
  void check_need() {
    for (std::size_t i = 0; i < proposed_.size(); ++i) {
      for (const Right right : kAllRights) {
        if (!proposed_[i].rights.contains(right)) continue;
        std::vector<Grant> less = together_;
        less[base_.size() + i].rights.bits &= static_cast<std::uint8_t>(~Rights::of(right).bits);
        ASSERT_TRUE(
            std::any_of(wants.begin(), wants.end(),
                        [&](const auto& want) { return !allowed(less, want.first, want.second); }))
            << "grant " << i << " could do without " << to_string(right);
      }
    }
  }

  /// Each grant names all that its identities have in common.
  void check_selectors() {
    for (const ProposedGrant& grant : proposal.grants) {
      ASSERT_FALSE(grant.selectors.empty());
      std::size_t identities = 0;
      Told common;
      for (const auto& [facts, ignored] : world.asked) {
        if (!made_of(grant, 1).matches(Identity{.selectors = facts})) continue;
        Told both;
        std::set_intersection(common.begin(), common.end(), facts.begin(), facts.end(),
                              std::back_inserter(both));
        common = identities++ == 0 ? facts : both;
      }
      ASSERT_EQ(grant.selectors, common);
      ASSERT_EQ(grant.identities, identities);
    }
  }

  const World world;
  const Proposal proposal;
  Wants wants;

 private:
  [[nodiscard]] bool allowed(const std::vector<Grant>& grants, const Told& facts,
                             Right right) const {
    return decide(grants, Identity{.selectors = facts}, right, world.now).allowed;
  }

  std::vector<Grant> base_;
  std::vector<Grant> proposed_;
  std::vector<Grant> together_;
  std::map<Told, Rights> missing_;
};

TEST(ProposeAtRandom, AllowsWhatWasSeenAndNothingElseByTheFewestGrants) {
  int worlds_with_two = 0;
  std::size_t left_out = 0;
  for (unsigned seed = 1; seed <= 10'000; ++seed) {
    Proposed proposed(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", " +
                 describe(proposed.world, proposed.proposal));
    ASSERT_TRUE(proposed.proposal.smallest);
    ASSERT_NO_FATAL_FAILURE(proposed.check_outcome());
    ASSERT_NO_FATAL_FAILURE(proposed.check_need());
    ASSERT_NO_FATAL_FAILURE(proposed.check_selectors());
    const auto ways = ways_to_serve(proposed.world, proposed.wants);
    ASSERT_EQ(proposed.proposal.grants.size(), fewest(ways, (1U << proposed.wants.size()) - 1));
    worlds_with_two += proposed.proposal.grants.size() >= 2 ? 1 : 0;
    left_out += proposed.proposal.left_out.size();
  }
  EXPECT_GT(worlds_with_two, 1'000);
  EXPECT_GT(left_out, 1'000U);
}

}  // namespace
}  // namespace coffer
