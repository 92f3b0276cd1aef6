#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/selector.h"

namespace coffer {

/// What a process's control groups say of it; each value in its selector's form.
struct CgroupFacts {
  std::optional<std::string> path;
  std::optional<std::string> unit;
  std::optional<std::string> job;
  std::optional<std::string> step;
  std::optional<std::string> docker;
  std::optional<std::string> pod;
  std::optional<std::string> container;
  /// A group is named as container engines name theirs.
  bool like_a_container = false;

  bool operator==(const CgroupFacts&) const = default;
};

/// From /proc/TID/cgroup (cgroups(7)), as v1, v2 and both at once have it; nothing if it is
/// anything else. Pure.
///
/// Names of groups prove nothing: whoever was given a group of his own (user@1000.service, a
/// container) names what he makes in it as he likes. So every shape is read from the root of the
/// tree on, and only as far as the service manager, the container engine or the batch system itself
/// made it, below groups that are root's; the same shape further down is not seen. Where two
/// hierarchies of v1 disagree, neither is believed.
std::optional<CgroupFacts> parse_cgroups(std::string_view text);
/// As selectors; what a name says of being a container is not among them.
std::vector<Selector> selectors_of(const CgroupFacts& facts);

}  // namespace coffer
