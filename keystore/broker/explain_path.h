#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/explain.h"
#include "keystore/broker/policy.h"

namespace coffer {

/// What the grants say of somebody who wants something of a path, and why.
struct PathExplanation {
  struct Asked {
    Right right;
    Explanation explanation;
  };
  /// A name that can't be looked up on the way to the path.
  struct Stop {
    std::string path;
    std::string scope;  ///< of the directory that the name is in
    Decision decision;
  };

  std::string scope;         ///< that the path lies in
  std::vector<Asked> asked;  ///< each right, in the order list, read, write
  std::optional<Stop> stop;
  /// If it may not be listed, it may be passed all the same: to these scopes below.
  std::vector<std::string> on_the_way_to;

  /// Each right is granted, and the path can be walked.
  [[nodiscard]] bool allowed() const;
  /// kDenied, kRevoked or kExpired of the first refusal; of no use if allowed.
  [[nodiscard]] Code code() const;
};

/// Whether `who` would get `wanted` at `path` (normalised) on a mount, by the policy alone: no key
/// is touched, and it is not looked at what lies there. Opening a path needs its right, and that
/// each name on the way to it may be looked up: listed, or passed on the way to a granted scope.
PathExplanation explain_path(const Policy& policy, std::string_view path, const Identity& who,
                             Rights wanted, std::int64_t now);

}  // namespace coffer
