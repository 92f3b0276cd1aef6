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
  for (const Right right : {Right::kList, Right::kRead, Right::kWrite}) {
    if (name == to_string(right)) return right;
  }
  return Error{Code::kInvalid, 0,
               "no such right: " + std::string(name) + " (there are list, read, write)"};
}

bool Grant::matches(const Identity& identity) const {
  // A caller of whom nothing is known is not part of "everyone".
  if (identity.selectors.empty()) return false;
  if (everyone) return true;
  if (selectors.empty()) return false;
  return std::all_of(selectors.begin(), selectors.end(),
                     [&](const Selector& selector) { return identity.has(selector); });
}

Decision decide(std::span<const Grant> grants, const Identity& identity, Right right,
                std::int64_t now) {
  Decision decision{.allowed = false, .code = Code::kDenied, .grant = {}, .reason = "no grant"};
  for (const Grant& grant : grants) {
    if (!grant.rights.cover(right) || !grant.matches(identity)) continue;
    if (grant.not_before.has_value() && now < *grant.not_before) continue;
    const bool expired = grant.not_after.has_value() && now >= *grant.not_after;
    const bool revoked = grant.revoked_at.has_value();
    if (grant.deny) {
      // A deny asks for exactly the rights it names: denying write leaves list alone.
      if (expired || revoked || !grant.rights.contains(right)) continue;
      return {.allowed = false,
              .code = Code::kDenied,
              .grant = grant.id,
              .reason = "denied by a grant"};
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
    } else {
      decision = {.allowed = true, .code = Code::kDenied, .grant = grant.id, .reason = "granted"};
    }
  }
  return decision;
}

}  // namespace coffer
