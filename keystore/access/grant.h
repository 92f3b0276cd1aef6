#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/selector.h"
#include "keystore/base/ids.h"
#include "keystore/base/result.h"

namespace coffer {

/// What a process may do in a scope. Reading or writing includes listing; writing does not include
/// reading.
enum class Right : std::uint8_t { kList = 1, kRead = 2, kWrite = 4 };

std::string_view to_string(Right right);
Result<Right> right_from_name(std::string_view name);

/// A set of rights; `bits` as in the keystore.
struct Rights {
  std::uint8_t bits = 0;

  /// The set of this one.
  static constexpr Rights of(Right right) { return {static_cast<std::uint8_t>(right)}; }
  void add(Right right) { bits |= static_cast<std::uint8_t>(right); }
  [[nodiscard]] bool contains(Right right) const {
    return (bits & static_cast<std::uint8_t>(right)) != 0;
  }
  /// True if the set lets a process do `wanted`: contained or included by another right.
  [[nodiscard]] bool cover(Right wanted) const {
    return contains(wanted) || (wanted == Right::kList && bits != 0);
  }
  auto operator<=>(const Rights&) const = default;
};

inline constexpr std::array<Right, 3> kAllRights = {Right::kList, Right::kRead, Right::kWrite};

/// "list,read", as in listings and in the audit log; and back: kInvalid for anything else.
std::string to_string(Rights rights);
Result<Rights> rights_from_text(std::string_view text);

/// Scope + selectors that must all hold + rights + time window. `deny` turns it into a refusal that
/// no other grant outweighs.
struct Grant {
  GrantId id;
  ScopeId scope;
  bool deny = false;
  Rights rights;
  bool everyone = false;            ///< no selectors needed
  std::vector<Selector> selectors;  ///< must all hold; empty only if `everyone`
  std::optional<std::int64_t> not_before;
  std::optional<std::int64_t> not_after;
  std::optional<std::int64_t> revoked_at;
  std::string purpose;

  [[nodiscard]] bool matches(const Identity& identity) const;
  /// True also if it did by what holds no more.
  [[nodiscard]] bool matched(const Identity& identity) const;
  /// True also if too little is known of the process to say that it does not match: a refusal holds
  /// then.
  [[nodiscard]] bool may_match(const Identity& identity) const;
};

/// Whether a grant is in force. One that was revoked is that, whatever its window says.
enum class Lifetime { kInForce, kNotYet, kExpired, kRevoked };
/// As listings show it: "active", "not yet", "expired", "revoked".
std::string_view to_string(Lifetime lifetime);

/// Of a Grant, or of a grant as the keystore has it.
template <typename AnyGrant>
Lifetime lifetime_at(const AnyGrant& grant, std::int64_t now) {
  if (grant.revoked_at.has_value()) return Lifetime::kRevoked;
  if (grant.not_after.has_value() && now >= *grant.not_after) return Lifetime::kExpired;
  if (grant.not_before.has_value() && now < *grant.not_before) return Lifetime::kNotYet;
  return Lifetime::kInForce;
}

/// The outcome and its ground. Allowed: `grant` gave the right. Refused: `code` is kDenied (no
/// grant, or `grant` denies), kExpired or kRevoked (the identity's only grants for it, `grant` the
/// newest, have run out or were revoked).
struct Decision {
  bool allowed = false;
  Code code = Code::kDenied;
  std::optional<GrantId> grant;
  std::string_view reason;
};

/// Whether `identity` may do `right` in a scope whose grants are `grants`, at `now`. Deny is the
/// default and an explicit deny wins, whatever the order. Pure.
Decision decide(std::span<const Grant> grants, const Identity& identity, Right right,
                std::int64_t now);

}  // namespace coffer
