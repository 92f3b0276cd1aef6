#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/selector.h"

namespace coffer {

/// A hierarchy of control groups where this process sees it.
struct CgroupMount {
  std::string controllers;  ///< as in /proc/TID/cgroup, sorted; empty: v2's
  std::string root;         ///< the group that lies at `place`
  std::string place;
  bool operator==(const CgroupMount&) const = default;
};

/// Those of /proc/TID/mountinfo (proc(5)). Pure.
std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo);

/// A control group and what it says of those in it, itself and not one around it or within.
struct ControlGroup {
  std::string place;      ///< of its hierarchy's mount
  std::string directory;  ///< its own, below that
  std::vector<Selector> selectors;
  bool operator==(const ControlGroup&) const = default;
};

/// The groups that stand behind the selectors of /proc/TID/cgroup, as far as they can be seen by
/// these mounts: of a unit its own, whatever lies below it. Pure.
std::vector<ControlGroup> groups_behind(std::string_view cgroups,
                                        const std::vector<CgroupMount>& mounts);

}  // namespace coffer
