#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "keystore/access/grant.h"

namespace coffer {

/// What one grant has to do with a decision, and all that keeps it from having more.
struct GrantFinding {
  enum class Part {
    kDecides,     ///< the decision names it
    kAgrees,      ///< would decide alike, were it alone
    kOutweighed,  ///< would allow it, were there no deny, or were the scope in use
    kNone,        ///< says nothing of this request now
  };

  GrantId id;
  bool deny = false;
  Part part = Part::kNone;
  bool right_fits = false;       ///< an allow that gives the right, a deny that names it
  bool matches = false;          ///< the identity is one of those it speaks of
  std::vector<Selector> failed;  ///< the selectors that keep the identity from being one
  Lifetime lifetime = Lifetime::kInForce;

  /// It speaks of this identity and right, and is in force.
  [[nodiscard]] bool applies() const {
    return right_fits && matches && lifetime == Lifetime::kInForce;
  }
};

/// A decision with the part of every grant in it, in their order.
struct Explanation {
  Decision decision;
  std::vector<GrantFinding> grants;
};

/// What decide() says of the same, and why. Pure.
Explanation explain(std::span<const Grant> grants, const Identity& identity, Right right,
                    std::int64_t now);

}  // namespace coffer
