#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "keystore/access/grant.h"

namespace coffer {

/// A request in a scope that was seen: what was known of its caller, and what it asked for.
struct Observation {
  std::vector<Selector> selectors;    ///< sorted; empty if nothing was known
  Rights rights;                      ///< asked for together
  std::optional<GrantId> refused_by;  ///< if it was refused by a grant: one that denies, or is over
  auto operator<=>(const Observation&) const = default;
};

/// A grant that somebody could make.
struct ProposedGrant {
  std::vector<Selector> selectors;
  Rights rights;
  std::size_t identities = 0;  ///< to how many of those that were seen it speaks
};

/// What was seen and no proposed grant would allow.
struct LeftOut {
  enum class Why {
    kUnknownCaller,  ///< nothing is known of the caller
    kDenied,         ///< a grant denies it
    kNotApart,       ///< nothing tells the caller from one that did not ask for it, or is denied it
  };
  std::vector<Selector> selectors;
  Rights rights;
  Why why = Why::kNotApart;
};

/// Grants that would have allowed what was seen, together with those that there are.
///
/// Of the identities that were seen they let none do what it was not seen to ask for, or was denied
/// by a grant. Listing counts as asked for by who reads or writes. None speaks to everyone. The set
/// is the smallest there is: the fewest grants; among sets of so many, one of the most selectors in
/// all; each grant then has all the selectors that those it speaks to have in common, and no right
/// that is not needed.
struct Proposal {
  std::vector<ProposedGrant> grants;
  std::vector<LeftOut> left_out;
  std::size_t identities = 0;       ///< different ones that were seen
  std::size_t allowed_already = 0;  ///< of them, those that are allowed all they asked for
  /// False if the search was cut short: no grant can be left away all the same, but another set may
  /// be smaller.
  bool smallest = true;
};

struct ProposalOptions {
  /// As if there were no grants but those that deny: for what is allowed already, too.
  bool all = false;
  /// Kinds of selectors that are not to be proposed, as "unix:gid": those of one occasion.
  std::vector<std::string> without;
};

/// `grants` are those of the scope. Pure; bounded in time, whatever was seen.
Proposal propose(std::span<const Observation> seen, std::span<const Grant> grants, std::int64_t now,
                 const ProposalOptions& options);

}  // namespace coffer
