#include "keystore/access/proposal.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>

#include "keystore/access/cover.h"

namespace coffer {
namespace {

using Selectors = std::vector<Selector>;

// All beyond what a person would look through; with them the work ends in a second or two.
constexpr std::size_t kMostInCommon = 2'000;
constexpr std::size_t kMostComparisons = 2'000'000;
constexpr std::size_t kSearchSteps = 20'000'000;

bool includes(const Selectors& all, const Selectors& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

Rights common(Rights some, Rights others) {
  return {static_cast<std::uint8_t>(some.bits & others.bits)};
}

Rights without(Rights some, Rights others) {
  return {static_cast<std::uint8_t>(some.bits & ~others.bits)};
}

/// An identity with what it asked for.
struct Asker {
  Selectors selectors;
  Rights seen;
  Rights denied;
  Rights allowed;  ///< already
  Rights proper;   ///< what a grant that speaks to it may give
  Rights wanted;   ///< what one has to give
};

bool is_deny(std::span<const Grant> grants, std::optional<GrantId> id) {
  return id.has_value() && std::any_of(grants.begin(), grants.end(), [&](const Grant& grant) {
           return grant.id == *id && grant.deny;
         });
}

void settle(Asker& asker, std::span<const Grant> grants, std::int64_t now, bool all) {
  const Identity identity{.selectors = asker.selectors};
  for (const Right right : kAllRights) {
    if (!asker.seen.contains(right)) continue;
    const Decision decision = decide(grants, identity, right, now);
    if (decision.allowed) asker.allowed.add(right);
    if (!decision.allowed && is_deny(grants, decision.grant)) asker.denied.add(right);
  }
  // Every right includes listing: who is denied that is given none.
  if (!asker.denied.contains(Right::kList)) {
    asker.proper = without(asker.seen, asker.denied);
    if (asker.proper.bits != 0) asker.proper.add(Right::kList);
  }
  asker.wanted = common(asker.seen, asker.proper);
  if (!all) asker.wanted = without(asker.wanted, asker.allowed);
}

std::vector<Asker> askers_of(std::span<const Observation> seen, std::span<const Grant> grants,
                             std::int64_t now, bool all) {
  std::map<Selectors, Asker> by_selectors;
  for (const Observation& observation : seen) {
    Asker& asker = by_selectors[observation.selectors];
    asker.selectors = observation.selectors;
    asker.seen.bits |= observation.rights.bits;
    if (is_deny(grants, observation.refused_by)) asker.denied.bits |= observation.rights.bits;
  }
  std::vector<Asker> askers;
  for (auto& [selectors, asker] : by_selectors) {
    settle(asker, grants, now, all);
    askers.push_back(std::move(asker));
  }
  return askers;
}

/// A grant that could be proposed.
struct Candidate {
  Selectors selectors;
  Rights rights;
  std::vector<std::size_t> speaks_to;  ///< askers
};

/// With every right that it may give and somebody wants.
Candidate candidate_of(const Selectors& selectors, std::span<const Asker> askers) {
  Candidate candidate{.selectors = selectors, .rights = {}, .speaks_to = {}};
  Rights proper{0xff};
  Rights wanted;
  for (std::size_t i = 0; i < askers.size(); ++i) {
    if (!includes(askers[i].selectors, selectors)) continue;
    candidate.speaks_to.push_back(i);
    proper = common(proper, askers[i].proper);
    wanted.bits |= askers[i].wanted.bits;
  }
  candidate.rights = common(proper, wanted);
  return candidate;
}

Selectors usable(const Selectors& selectors, const ProposalOptions& options) {
  Selectors kept;
  for (const Selector& selector : selectors) {
    if (std::none_of(options.without.begin(), options.without.end(), [&](const std::string& kind) {
          return selector.text().starts_with(kind + ":");
        })) {
      kept.push_back(selector);
    }
  }
  return kept;
}

/// What any askers have in common. No other grant need be looked at: one that speaks to the same
/// askers with fewer selectors gives no more. Who has fewer selectors speaks to more askers and may
/// give less, so what is useless alone is not made useful by another asker.
std::vector<Candidate> candidates_for(std::span<const Asker> askers, const ProposalOptions& options,
                                      bool& all_found) {
  std::vector<Selectors> bases;
  for (const Asker& asker : askers) {
    if (asker.wanted.bits != 0) bases.push_back(usable(asker.selectors, options));
  }
  std::vector<Candidate> found;
  std::set<Selectors> looked_at;
  const auto look_at = [&](const Selectors& selectors) {
    if (selectors.empty() || !looked_at.insert(selectors).second) return;
    Candidate candidate = candidate_of(selectors, askers);
    if (candidate.rights.bits != 0) found.push_back(std::move(candidate));
  };
  for (const Selectors& base : bases) look_at(base);
  const std::size_t most = looked_at.size() + kMostInCommon;
  std::size_t comparisons = 0;
  for (std::size_t at = 0; at < found.size(); ++at) {
    const Selectors own = found[at].selectors;
    for (const Selectors& base : bases) {
      if (looked_at.size() >= most || ++comparisons > kMostComparisons) {
        all_found = false;
        return found;
      }
      Selectors shared;
      std::set_intersection(own.begin(), own.end(), base.begin(), base.end(),
                            std::back_inserter(shared));
      look_at(shared);
    }
  }
  return found;
}

/// What is wanted, and by how many of the chosen grants it is given.
class Wants {
 public:
  explicit Wants(std::span<const Asker> askers)
      : askers_(askers), given_(askers.size() * kAllRights.size(), 0) {}

  /// The numbers of those that a grant of these rights, to whom `candidate` speaks to, serves.
  [[nodiscard]] std::vector<std::size_t> served_by(const Candidate& candidate,
                                                   Rights rights) const {
    std::vector<std::size_t> served;
    for (const std::size_t asker : candidate.speaks_to) {
      for (std::size_t i = 0; i < kAllRights.size(); ++i) {
        if (askers_[asker].wanted.contains(kAllRights[i]) && rights.cover(kAllRights[i]))
          served.push_back(asker * kAllRights.size() + i);
      }
    }
    return served;
  }
  void add(const Candidate& candidate, Rights rights) {
    for (const std::size_t want : served_by(candidate, rights)) ++given_[want];
  }
  /// Takes rights from what was added, unless something is then served by nobody.
  bool reduce(const Candidate& candidate, Rights rights, Rights less) {
    for (const std::size_t want : served_by(candidate, rights)) --given_[want];
    add(candidate, less);
    const auto before = served_by(candidate, rights);
    if (std::all_of(before.begin(), before.end(),
                    [&](std::size_t want) { return given_[want] > 0; })) {
      return true;
    }
    for (const std::size_t want : served_by(candidate, less)) --given_[want];
    add(candidate, rights);
    return false;
  }
  [[nodiscard]] Rights served(std::size_t asker) const {
    Rights rights;
    for (std::size_t i = 0; i < kAllRights.size(); ++i) {
      if (given_[asker * kAllRights.size() + i] > 0) rights.add(kAllRights[i]);
    }
    return rights;
  }

 private:
  std::span<const Asker> askers_;
  std::vector<int> given_;
};

/// Takes from each grant the rights without which all is served as well.
void drop_needless_rights(std::vector<Candidate>& chosen, Wants& wants) {
  for (Candidate& candidate : chosen) {
    for (const Right right : kAllRights) {
      const Rights less = without(candidate.rights, Rights::of(right));
      if (wants.reduce(candidate, candidate.rights, less)) candidate.rights = less;
    }
  }
}

/// The grants of the proposal; `wants` counts what they serve.
std::vector<Candidate> choose(const std::vector<Candidate>& candidates, Wants& wants,
                              bool& smallest) {
  std::vector<CoverSet> sets;
  std::map<std::size_t, std::size_t> points;  // of what any candidate serves, without gaps
  for (const Candidate& candidate : candidates) {
    CoverSet set{.points = wants.served_by(candidate, candidate.rights),
                 .weight = candidate.selectors.size()};
    for (std::size_t& point : set.points) {
      point = points.try_emplace(point, points.size()).first->second;
    }
    sets.push_back(std::move(set));
  }
  const Cover cover = smallest_cover(sets, points.size(), kSearchSteps);
  smallest = smallest && cover.smallest;
  std::vector<Candidate> chosen;
  for (const std::size_t index : cover.sets) {
    chosen.push_back(candidates[index]);
    wants.add(chosen.back(), chosen.back().rights);
  }
  drop_needless_rights(chosen, wants);
  return chosen;
}

void leave_out(Proposal& proposal, const Asker& asker, Rights rights, LeftOut::Why why) {
  if (rights.bits == 0) return;
  proposal.left_out.push_back({.selectors = asker.selectors, .rights = rights, .why = why});
}

}  // namespace

Proposal propose(std::span<const Observation> seen, std::span<const Grant> grants, std::int64_t now,
                 const ProposalOptions& options) {
  const std::vector<Asker> askers = askers_of(seen, grants, now, options.all);
  Proposal proposal;
  proposal.identities = askers.size();
  const auto candidates = candidates_for(askers, options, proposal.smallest);
  Wants wants(askers);
  for (Candidate& candidate : choose(candidates, wants, proposal.smallest)) {
    proposal.grants.push_back({.selectors = std::move(candidate.selectors),
                               .rights = candidate.rights,
                               .identities = candidate.speaks_to.size()});
  }
  std::sort(proposal.grants.begin(), proposal.grants.end(),
            [](const auto& a, const auto& b) { return a.selectors < b.selectors; });
  for (std::size_t i = 0; i < askers.size(); ++i) {
    const Asker& asker = askers[i];
    if (without(asker.seen, asker.allowed).bits == 0) ++proposal.allowed_already;
    Rights unserved = without(asker.seen, wants.served(i));
    if (!options.all) unserved = without(unserved, asker.allowed);
    if (asker.selectors.empty()) {
      leave_out(proposal, asker, unserved, LeftOut::Why::kUnknownCaller);
      continue;
    }
    leave_out(proposal, asker, without(unserved, asker.wanted), LeftOut::Why::kDenied);
    leave_out(proposal, asker, common(unserved, asker.wanted), LeftOut::Why::kNotApart);
  }
  return proposal;
}

}  // namespace coffer
