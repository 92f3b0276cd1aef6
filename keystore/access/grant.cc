#include "keystore/access/grant.h"

#include <algorithm>

namespace coffer {

std::string_view to_string(Right right) {
  switch (right) {
    case Right::kList:
      return "list";
    case Right::kRead:
      return "read";
    case Right::kWrite:
      return "write";
  }
  return "unknown";
}

Result<Right> right_from_name(std::string_view name) {
  for (const Right right : kAllRights) {
    if (name == to_string(right)) return right;
  }
  return Error{Code::kInvalid, 0,
               "no such right: " + std::string(name) + " (there are list, read, write)"};
}

std::string to_string(Rights rights) {
  std::string text;
  for (const Right right : kAllRights) {
    if (!rights.contains(right)) continue;
    if (!text.empty()) text += ",";
    text += to_string(right);
  }
  return text;
}

Result<Rights> rights_from_text(std::string_view text) {
  Rights rights;
  std::string_view rest = text;
  while (true) {
    const std::size_t end = rest.find(',');
    rights.add(TRY(right_from_name(rest.substr(0, end))));
    if (end == std::string_view::npos) return rights;
    rest.remove_prefix(end + 1);
  }
}

std::string_view to_string(Lifetime lifetime) {
  switch (lifetime) {
    case Lifetime::kInForce:
      return "active";
    case Lifetime::kNotYet:
      return "not yet";
    case Lifetime::kExpired:
      return "expired";
    case Lifetime::kRevoked:
      return "revoked";
  }
  return "unknown";
}

bool Grant::matches(const Identity& identity) const {
  // A caller of whom nothing is known is not part of "everyone".
  if (identity.selectors.empty()) return false;
  if (everyone) return true;
  if (selectors.empty()) return false;
  return std::all_of(selectors.begin(), selectors.end(),
                     [&](const Selector& selector) { return identity.has(selector); });
}

bool Grant::matched(const Identity& identity) const {
  if (matches(identity)) return true;
  return !selectors.empty() &&
         std::all_of(selectors.begin(), selectors.end(),
                     [&](const Selector& selector) { return identity.had(selector); });
}

bool Grant::may_match(const Identity& identity) const {
  if (matches(identity)) return true;
  if (identity.selectors.empty() || selectors.empty()) return false;
  return std::all_of(selectors.begin(), selectors.end(),
                     [&](const Selector& selector) { return identity.may_have(selector); });
}

Decision decide(std::span<const Grant> grants, const Identity& identity, Right right,
                std::int64_t now) {
  Decision decision{.allowed = false, .code = Code::kDenied, .grant = {}, .reason = "no grant"};
  for (const Grant& grant : grants) {
    if (!grant.rights.cover(right)) continue;
    if (grant.deny ? !grant.may_match(identity) : !grant.matched(identity)) continue;
    if (grant.not_before.has_value() && now < *grant.not_before) continue;
    const bool expired = grant.not_after.has_value() && now >= *grant.not_after;
    const bool revoked = grant.revoked_at.has_value();
    if (grant.deny) {
      // A deny asks for exactly the rights it names: denying write leaves list alone.
      if (expired || revoked || !grant.rights.contains(right)) continue;
      return {.allowed = false,
              .code = Code::kDenied,
              .grant = grant.id,
              .reason = grant.matches(identity)
                            ? "denied by a grant"
                            : "perhaps denied by a grant: too little is known of the process"};
    }
    if (decision.allowed) continue;
    if (revoked) {
      decision = {.allowed = false,
                  .code = Code::kRevoked,
                  .grant = grant.id,
                  .reason = "grant was revoked"};
    } else if (expired) {
      decision = {.allowed = false,
                  .code = Code::kExpired,
                  .grant = grant.id,
                  .reason = "grant has expired"};
    } else if (!grant.matches(identity)) {
      decision = {.allowed = false,
                  .code = Code::kRevoked,
                  .grant = grant.id,
                  .reason = "the control group that the grant names is gone"};
    } else {
      decision = {.allowed = true, .code = Code::kDenied, .grant = grant.id, .reason = "granted"};
    }
  }
  return decision;
}

}  // namespace coffer
