#include "keystore/access/explain.h"

namespace coffer {
namespace {

GrantFinding::Part part_of(const GrantFinding& finding, const Decision& decision) {
  using Part = GrantFinding::Part;
  if (decision.grant == finding.id) return Part::kDecides;
  if (!finding.applies()) return Part::kNone;
  if (finding.deny || decision.allowed) return Part::kAgrees;
  return Part::kOutweighed;
}

}  // namespace

Explanation explain(std::span<const Grant> grants, const Identity& identity, Right right,
                    std::int64_t now) {
  Explanation explanation{.decision = decide(grants, identity, right, now), .grants = {}};
  explanation.grants.reserve(grants.size());
  for (const Grant& grant : grants) {
    GrantFinding finding;
    finding.id = grant.id;
    finding.deny = grant.deny;
    finding.right_fits = grant.deny ? grant.rights.contains(right) : grant.rights.cover(right);
    finding.matches = grant.deny ? grant.may_match(identity) : grant.matches(identity);
    if (!finding.matches) {
      for (const Selector& selector : grant.selectors) {
        if (!identity.has(selector)) finding.failed.push_back(selector);
      }
    }
    finding.lifetime = lifetime_at(grant, now);
    finding.part = part_of(finding, explanation.decision);
    explanation.grants.push_back(std::move(finding));
  }
  return explanation;
}

}  // namespace coffer
