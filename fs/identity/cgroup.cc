#include "fs/identity/cgroup.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "fs/identity/attested_value.h"

namespace coffer {
namespace {

struct Line {
  bool unified = false;  ///< of v2's only hierarchy
  bool systemd = false;  ///< of v1's hierarchy that holds no controllers but the units
  std::string_view path;
  std::vector<std::string_view> parts;
};

/// "ID:CONTROLLERS:PATH"; a path may have colons.
std::optional<Line> parse_line(std::string_view text) {
  const std::size_t first = text.find(':');
  const std::size_t second = first == text.npos ? first : text.find(':', first + 1);
  if (second == text.npos) return std::nullopt;
  const std::string_view id = text.substr(0, first);
  const std::string_view controllers = text.substr(first + 1, second - first - 1);
  Line line;
  line.path = text.substr(second + 1);
  if (id.empty() || id.find_first_not_of("0123456789") != id.npos || !line.path.starts_with('/'))
    return std::nullopt;
  line.unified = id == "0" && controllers.empty();
  line.systemd = controllers == "name=systemd";
  return line;
}

/// Nothing of a path that is not the kernel's plain one: of a group outside of what this process
/// may see ("/../x"), or that is gone.
std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  if (path == "/" || !Selector::attested("cgroup:path:", path).has_value()) return parts;
  while (path.size() > 1) {
    path.remove_prefix(1);
    parts.push_back(path.substr(0, path.find('/')));
    path.remove_prefix(parts.back().size());
  }
  return parts;
}

using Parts = std::vector<std::string_view>;

std::string_view at(const Parts& parts, std::size_t index) {
  return index < parts.size() ? parts[index] : std::string_view{};
}

/// What stands between the two, if they are `text`'s beginning and end.
std::string_view between(std::string_view text, std::string_view begin, std::string_view end) {
  if (text.size() < begin.size() + end.size() || !text.starts_with(begin) || !text.ends_with(end))
    return {};
  return text.substr(begin.size(), text.size() - begin.size() - end.size());
}

bool is_slice(std::string_view part) { return part.ends_with(".slice"); }

std::size_t slices_of(const Parts& parts) {
  return static_cast<std::size_t>(std::find_if_not(parts.begin(), parts.end(), is_slice) -
                                  parts.begin());
}

/// systemd.slice(5): slices contain slices and units, and units contain what is no longer the
/// system's service manager's.
std::optional<std::string> unit_of(const Parts& parts) {
  std::string_view unit = at(parts, slices_of(parts));
  // A unit that is called like a file of the kernel's gets a '_' before it.
  if (unit.starts_with('_')) unit.remove_prefix(1);
  return attested_value("systemd:id:", unit);
}

struct Job {
  std::optional<std::string> id;
  std::optional<std::string> step;
  bool operator==(const Job&) const = default;
};

/// v2: /system.slice/[NODE_]slurmstepd.scope/job_N/step_S; v1: /slurm[_NODE]/uid_N/job_N/step_S.
Job job_of(const Line& line) {
  const Parts& parts = line.parts;
  std::size_t place = 0;
  const std::string_view scope = at(parts, 1);
  if (at(parts, 0) == "system.slice" &&
      (scope == "slurmstepd.scope" || scope.ends_with("_slurmstepd.scope"))) {
    place = 2;
  } else if (!line.unified && (at(parts, 0) == "slurm" || at(parts, 0).starts_with("slurm_")) &&
             at(parts, 1).starts_with("uid_")) {
    place = 2;
  } else {
    return {};
  }
  Job job{.id = attested_value("slurm:job_id:", between(at(parts, place), "job_", "")), .step = {}};
  if (job.id) job.step = attested_value("slurm:step:", between(at(parts, place + 1), "step_", ""));
  return job;
}

/// cgroupfs: /docker/ID; systemd: docker-ID.scope in whatever slice.
std::optional<std::string> docker_of(const Parts& parts) {
  if (at(parts, 0) == "docker") return attested_value("docker:id:", at(parts, 1));
  if (at(parts, 0) == "kubepods.slice") return std::nullopt;
  return attested_value("docker:id:", between(at(parts, slices_of(parts)), "docker-", ".scope"));
}

struct Pod {
  std::optional<std::string> uid;
  std::optional<std::string> container;
  bool operator==(const Pod&) const = default;
};

/// The uid is written with '-', or with '_' where '-' separates slices.
std::optional<std::string> pod_uid(std::string_view text) {
  std::string uid(text);
  if (uid.size() == 36 && uid[8] == '_') std::replace(uid.begin(), uid.end(), '_', '-');
  return attested_value("k8s:pod-uid:", uid);
}

std::optional<std::string> container_of_scope(std::string_view scope) {
  for (const std::string_view engine : {"cri-containerd-", "crio-", "docker-"}) {
    if (auto id = attested_value("k8s:container-id:", between(scope, engine, ".scope"))) return id;
  }
  return std::nullopt;
}

/// /kubepods[/QOS]/podUID/ID
Pod pod_of_directories(const Parts& parts, std::size_t place) {
  const std::string_view qos = at(parts, ++place);
  if (qos == "burstable" || qos == "besteffort") ++place;
  Pod pod{.uid = pod_uid(between(at(parts, place), "pod", "")), .container = {}};
  if (pod.uid) pod.container = attested_value("k8s:container-id:", at(parts, place + 1));
  return pod;
}

/// /kubepods.slice[/kubepods-QOS.slice]/kubepods[-QOS]-podUID.slice/ENGINE-ID.scope; each slice is
/// named after the one around it.
Pod pod_of_slices(const Parts& parts, std::size_t place) {
  std::string around(between(at(parts, place), "", ".slice"));
  for (const std::string_view qos : {"-burstable", "-besteffort"}) {
    if (at(parts, place + 1) != around + std::string(qos) + ".slice") continue;
    around += qos;
    ++place;
    break;
  }
  Pod pod{.uid = pod_uid(between(at(parts, place + 1), around + "-pod", ".slice")),
          .container = {}};
  if (pod.uid) pod.container = container_of_scope(at(parts, place + 2));
  return pod;
}

/// What containerd without systemd makes of a kubelet with it: one group
/// "kubepods[-QOS]-podUID.slice:cri-containerd:ID", at the root or in containerd's own.
Pod pod_of_joined(const Parts& parts) {
  const bool own = at(parts, 0) == "system.slice" && at(parts, 1) == "containerd.service";
  const std::string_view joined = at(parts, own ? 2 : 0);
  constexpr std::string_view kJoint = ".slice:cri-containerd:";
  const std::size_t joint = joined.find(kJoint);
  if (joint == joined.npos) return {};
  const std::string_view slice = joined.substr(0, joint);
  for (const std::string_view begin :
       {"kubepods-pod", "kubepods-burstable-pod", "kubepods-besteffort-pod"}) {
    Pod pod{.uid = pod_uid(between(slice, begin, "")), .container = {}};
    if (!pod.uid) continue;
    pod.container = attested_value("k8s:container-id:", joined.substr(joint + kJoint.size()));
    return pod;
  }
  return {};
}

Pod pod_of(const Parts& parts) {
  const std::string_view first = at(parts, 0);
  const std::string_view second = at(parts, 1);
  if (first == "kubepods") return pod_of_directories(parts, 0);
  if (first == "kubepods.slice") return pod_of_slices(parts, 0);
  // A kubelet that was told to keep below a group of its own.
  if (first == "kubelet" && second == "kubepods") return pod_of_directories(parts, 1);
  if (first == "kubelet.slice" && second == "kubelet-kubepods.slice")
    return pod_of_slices(parts, 1);
  return pod_of_joined(parts);
}

bool has_long_id(std::string_view part) {
  std::size_t digits = 0;
  for (const char c : part) {
    digits = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ? digits + 1 : 0;
    if (digits == 64) return true;
  }
  return false;
}

/// More than any engine's names: it only takes away. What a machine's own services are called is
/// theirs ("docker.service").
bool is_like_a_container(std::string_view part) {
  constexpr std::array kWhole = {"docker", "lxc",     "podman",       "ecs",
                                 "garden", "machine", "machine.slice"};
  constexpr std::array kBegin = {"docker-", "lxc.",     "crio-",    "machine-",
                                 "nerdctl", "buildkit", "kubelet.", "kata"};
  constexpr std::array kWithin = {"libpod", "kubepods", "cri-containerd", "nerdctl-"};
  const auto begins = [&](std::string_view name) { return part.starts_with(name); };
  if (has_long_id(part) || begins("systemd-nspawn@")) return true;
  if (part.ends_with(".service")) return false;
  return std::any_of(kWhole.begin(), kWhole.end(), [&](auto name) { return part == name; }) ||
         std::any_of(kBegin.begin(), kBegin.end(), begins) ||
         std::any_of(kWithin.begin(), kWithin.end(),
                     [&](auto name) { return part.find(name) != part.npos; });
}

/// The group that says where a process belongs: v2's, unless all are in its root and systemd has
/// its own hierarchy beside it.
const Line* main_line(const std::vector<Line>& lines) {
  const Line* main = nullptr;
  for (const Line& line : lines) {
    if (!line.unified && !line.systemd) continue;
    const bool at_root = main == nullptr || main->path == "/";
    if (at_root || (line.unified && line.path != "/")) main = &line;
  }
  return main;
}

/// What all lines agree on that say anything of it.
template <typename Fact, typename Of>
Fact agreed(const std::vector<Line>& lines, Of&& of) {
  Fact all{};
  for (const Line& line : lines) {
    Fact fact = of(line);
    if (fact == Fact{}) continue;
    if (all != Fact{} && all != fact) return {};
    all = std::move(fact);
  }
  return all;
}

}  // namespace

std::optional<CgroupFacts> parse_cgroups(std::string_view text) {
  std::vector<Line> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    auto parsed = parse_line(line);
    if (!parsed) return std::nullopt;
    parsed->parts = parts_of(parsed->path);
    lines.push_back(std::move(*parsed));
  }
  if (lines.empty()) return std::nullopt;
  CgroupFacts facts;
  if (const Line* const main = main_line(lines)) {
    facts.path = attested_value("cgroup:path:", main->path);
    facts.unit = unit_of(main->parts);
  }
  Job job = agreed<Job>(lines, job_of);
  facts.job = std::move(job.id);
  facts.step = std::move(job.step);
  facts.docker = agreed<std::optional<std::string>>(
      lines, [](const Line& line) { return docker_of(line.parts); });
  Pod pod = agreed<Pod>(lines, [](const Line& line) { return pod_of(line.parts); });
  facts.pod = std::move(pod.uid);
  facts.container = std::move(pod.container);
  for (const Line& line : lines) {
    // Of what can't be taken apart nothing is known.
    facts.like_a_container |=
        (line.parts.empty() && line.path != "/") ||
        std::any_of(line.parts.begin(), line.parts.end(), is_like_a_container);
  }
  return facts;
}

std::vector<Selector> selectors_of(const CgroupFacts& facts) {
  std::vector<Selector> selectors;
  const auto add = [&](std::string_view kind, const std::optional<std::string>& value) {
    if (!value.has_value()) return;
    if (auto selector = Selector::attested(kind, *value)) selectors.push_back(std::move(*selector));
  };
  add("cgroup:path:", facts.path);
  add("systemd:id:", facts.unit);
  add("slurm:job_id:", facts.job);
  add("slurm:step:", facts.step);
  add("docker:id:", facts.docker);
  add("k8s:pod-uid:", facts.pod);
  add("k8s:container-id:", facts.container);
  return selectors;
}

}  // namespace coffer
