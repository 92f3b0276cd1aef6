#include "keystore/broker/explain_path.h"

#include <algorithm>

namespace coffer {
namespace {

/// The first name from the root on that can't be looked up, as KeyBroker::release_names decides it.
std::optional<PathExplanation::Stop> first_stop(const Policy& policy, std::string_view path,
                                                const Identity& who, std::int64_t now) {
  for (std::size_t slash = 0; slash < path.size() && path != "/";) {
    const std::size_t end = std::min(path.find('/', slash + 1), path.size());
    const std::string_view name = path.substr(0, end);
    const std::string_view parent = slash == 0 ? "/" : path.substr(0, slash);
    const ScopeRow& scope = policy.scope_containing(parent);
    const Decision decision = policy.decide(scope.id, who, Rights::of(Right::kList), now);
    if (!decision.allowed && !policy.on_the_way(name, who, now)) {
      return PathExplanation::Stop{
          .path = std::string(name), .scope = scope.path, .decision = decision};
    }
    slash = end;
  }
  return std::nullopt;
}

/// The scopes below `path` that `who` may list.
std::vector<std::string> listed_below(const Policy& policy, std::string_view path,
                                      const Identity& who, std::int64_t now) {
  const std::string below = path == "/" ? "/" : std::string(path) + "/";
  std::vector<std::string> found;
  for (const ScopeRow& scope : policy.scopes()) {
    if (scope.path.size() > below.size() && scope.path.starts_with(below) &&
        policy.decide(scope.id, who, Rights::of(Right::kList), now).allowed) {
      found.push_back(scope.path);
    }
  }
  return found;
}

/// A scope that is not in use grants nothing, whatever its grants say.
Explanation explain_in(const Policy& policy, const ScopeRow& scope, const Identity& who,
                       Right right, std::int64_t now) {
  Explanation explanation = explain(policy.grants(scope.id), who, right, now);
  if (is_usable(scope.state)) return explanation;
  explanation.decision = policy.decide(scope.id, who, Rights::of(right), now);
  for (GrantFinding& finding : explanation.grants) {
    if (finding.applies() && !finding.deny) finding.part = GrantFinding::Part::kOutweighed;
    if (finding.part == GrantFinding::Part::kDecides) finding.part = GrantFinding::Part::kAgrees;
  }
  return explanation;
}

}  // namespace

bool PathExplanation::allowed() const {
  return !stop.has_value() && std::all_of(asked.begin(), asked.end(), [](const Asked& one) {
    return one.explanation.decision.allowed;
  });
}

Code PathExplanation::code() const {
  for (const Asked& one : asked) {
    if (!one.explanation.decision.allowed) return one.explanation.decision.code;
  }
  return stop.has_value() ? stop->decision.code : Code::kDenied;
}

PathExplanation explain_path(const Policy& policy, std::string_view path, const Identity& who,
                             Rights wanted, std::int64_t now) {
  const ScopeRow& scope = policy.scope_containing(path);
  PathExplanation explained;
  explained.scope = scope.path;
  for (const Right right : kAllRights) {
    if (!wanted.contains(right)) continue;
    explained.asked.push_back({right, explain_in(policy, scope, who, right, now)});
    if (right == Right::kList && !explained.asked.back().explanation.decision.allowed)
      explained.on_the_way_to = listed_below(policy, path, who, now);
  }
  explained.stop = first_stop(policy, path, who, now);
  return explained;
}

}  // namespace coffer
