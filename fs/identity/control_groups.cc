#include "fs/identity/control_groups.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "fs/identity/cgroup.h"

namespace coffer {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// "cpuacct,cpu" → "cpu,cpuacct"
std::string sorted_list(std::vector<std::string_view> names) {
  std::sort(names.begin(), names.end());
  std::string list;
  for (const std::string_view name : names) list.append(list.empty() ? "" : ",").append(name);
  return list;
}

/// What a v1 mount is of, among its options.
bool is_controller(std::string_view option) {
  constexpr std::string_view kOthers[] = {
      "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"};
  return std::find(std::begin(kOthers), std::end(kOthers), option) == std::end(kOthers) &&
         !option.starts_with("release_agent=");
}

/// "ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [FIELDS] - TYPE SOURCE OPTIONS"
std::optional<CgroupMount> parse_mount(std::string_view line) {
  constexpr std::size_t kRoot = 3;
  constexpr std::size_t kPlace = 4;
  const std::size_t separator = line.find(" - ");
  if (separator == line.npos) return std::nullopt;
  const auto fields = split(line.substr(0, separator), ' ');
  const auto rest = split(line.substr(separator + 3), ' ');
  if (fields.size() <= kPlace || rest.size() < 3) return std::nullopt;
  // Names with blanks in them are written otherwise than they are, and stand for no group here.
  if (fields[kRoot].find('\\') != line.npos || fields[kPlace].find('\\') != line.npos)
    return std::nullopt;
  CgroupMount mount{
      .controllers = {}, .root = std::string(fields[kRoot]), .place = std::string(fields[kPlace])};
  if (rest[0] == "cgroup2") return mount;
  if (rest[0] != "cgroup") return std::nullopt;
  auto controllers = split(rest[2], ',');
  std::erase_if(controllers, [](std::string_view option) { return !is_controller(option); });
  mount.controllers = sorted_list(std::move(controllers));
  if (mount.controllers.empty()) return std::nullopt;
  return mount;
}

/// Where the group lies, or nothing if it can't be seen there.
std::optional<std::string> directory_of(const CgroupMount& mount, std::string_view path) {
  if (mount.root == "/") return mount.place + std::string(path);
  if (!path.starts_with(mount.root)) return std::nullopt;
  path.remove_prefix(mount.root.size());
  if (!path.empty() && path.front() != '/') return std::nullopt;
  return mount.place + std::string(path);
}

/// The groups of one line "ID:CONTROLLERS:PATH", from the outermost in.
void add_groups(std::string_view line, const std::vector<Selector>& all,
                const std::vector<CgroupMount>& mounts, std::vector<ControlGroup>& groups) {
  const auto fields = split(line, ':');
  if (fields.size() < 3) return;
  const std::size_t head = fields[0].size() + fields[1].size() + 2;
  if (line.size() <= head + 1) return;  // the root is always there
  const std::string controllers = fields[1].empty() ? "" : sorted_list(split(fields[1], ','));
  const auto mount = std::find_if(mounts.rbegin(), mounts.rend(), [&](const CgroupMount& each) {
    return each.controllers == controllers;
  });
  if (mount == mounts.rend()) return;
  std::vector<Selector> left = all;
  for (std::size_t end = head; end < line.size() && !left.empty();) {
    end = std::min(line.find('/', end + 1), line.size());
    const auto facts = parse_cgroups(line.substr(0, end));
    if (!facts.has_value()) return;
    ControlGroup group;
    for (Selector& selector : selectors_of(*facts)) {
      if (std::erase(left, selector) > 0) group.selectors.push_back(std::move(selector));
    }
    auto directory = directory_of(*mount, line.substr(head, end - head));
    if (group.selectors.empty() || !directory.has_value()) continue;
    group.place = mount->place;
    group.directory = std::move(*directory);
    groups.push_back(std::move(group));
  }
}

}  // namespace

std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (const std::string_view line : split(mountinfo, '\n')) {
    if (auto mount = parse_mount(line)) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

std::vector<ControlGroup> groups_behind(std::string_view cgroups,
                                        const std::vector<CgroupMount>& mounts) {
  std::vector<ControlGroup> groups;
  const auto facts = parse_cgroups(cgroups);
  if (!facts.has_value()) return groups;
  const std::vector<Selector> all = selectors_of(*facts);
  for (const std::string_view line : split(cgroups, '\n')) add_groups(line, all, mounts, groups);
  return groups;
}

}  // namespace coffer
