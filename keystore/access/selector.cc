#include "keystore/access/selector.h"

#include <algorithm>
#include <array>

#include "keystore/access/selector_values.h"

namespace coffer {
namespace {

struct Kind {
  std::string_view prefix;  ///< what stands before the value; all of it if there is none
  bool (*canonical)(std::string_view value);
  std::string_view form;  ///< what a value looks like, for people
  Sources sources;
};

bool is_empty(std::string_view value) { return value.empty(); }

constexpr std::array kKinds = {
    Kind{"unix:uid:", is_canonical_id, "a decimal id", Sources{}},
    Kind{"unix:gid:", is_canonical_id, "a decimal id", Sources{}},
    Kind{"unix:supplementary_gid:", is_canonical_id, "a decimal id", Sources::of(Source::kGroups)},
    Kind{"unix:user:", is_account_name, "the name of a user", Sources::of(Source::kUserName)},
    Kind{"unix:group:", is_account_name, "the name of a group", Sources::of(Source::kGroupNames)},
    Kind{"unix:supplementary_group:", is_account_name, "the name of a group",
         Sources::of(Source::kGroups, Source::kGroupNames)},
    Kind{"unix:path:", is_executable_path, "an absolute path without '.', '..' and '//'",
         Sources::of(Source::kExecutable)},
    Kind{"unix:sha256:", is_hex<64>, "64 hexadecimal digits in lower case",
         Sources::of(Source::kExecutableHash)},
    Kind{"systemd:id:", is_unit_name, "the name of a service or scope, as nginx.service",
         Sources::of(Source::kCgroup)},
    Kind{"slurm:job_id:", is_canonical_id, "a decimal id", Sources::of(Source::kCgroup)},
    Kind{"slurm:step:", is_step_name, "a number or batch, extern, interactive",
         Sources::of(Source::kCgroup)},
    Kind{"docker:id:", is_hex<64>, "64 hexadecimal digits in lower case",
         Sources::of(Source::kCgroup)},
    Kind{"k8s:pod-uid:", is_uuid, "8-4-4-4-12 hexadecimal digits in lower case",
         Sources::of(Source::kCgroup)},
    Kind{"k8s:container-id:", is_hex<64>, "64 hexadecimal digits in lower case",
         Sources::of(Source::kCgroup)},
    Kind{"cgroup:path:", is_cgroup_path, "an absolute path without '.', '..' and '//'",
         Sources::of(Source::kCgroup)},
    Kind{"selinux:label:", is_label, "a context, as system_u:system_r:init_t:s0",
         Sources::of(Source::kLabel)},
    Kind{"host:name:", is_host_name, "a host name in lower case", Sources::of(Source::kHost)},
    Kind{"host:machine-id:", is_hex<32>, "32 hexadecimal digits in lower case",
         Sources::of(Source::kHost)},
    Kind{"container:none", is_empty, "left out", Sources::of(Source::kCgroup, Source::kNamespaces)},
};

const Kind* kind_of(std::string_view text) {
  const auto* const kind = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& each) {
    return text.starts_with(each.prefix);
  });
  return kind == kKinds.end() ? nullptr : kind;
}

/// "unix:uid, unix:gid, …, container:none"
std::string all_kinds() {
  std::string all;
  for (const Kind& kind : kKinds) {
    std::string_view name = kind.prefix;
    if (name.ends_with(':')) name.remove_suffix(1);
    all.append(all.empty() ? "" : ", ").append(name);
  }
  return all;
}

}  // namespace

Result<Selector> Selector::parse(std::string_view text) {
  const Kind* const kind = kind_of(text);
  if (kind == nullptr) {
    return Error{
        Code::kInvalid, 0,
        "selector " + std::string(text) + ": not a known kind (there are " + all_kinds() + ")"};
  }
  if (kind->canonical(text.substr(kind->prefix.size()))) return Selector(std::string(text));
  return Error{Code::kInvalid, 0,
               "selector " + std::string(text) + ": the value is " + std::string(kind->form)};
}

std::optional<Selector> Selector::attested(std::string_view kind, std::string_view value) {
  const auto* const known = std::find_if(kKinds.begin(), kKinds.end(),
                                         [&](const Kind& each) { return each.prefix == kind; });
  if (known == kKinds.end() || !known->canonical(value)) return std::nullopt;
  return Selector(std::string(kind).append(value));
}

Selector Selector::unix_uid(uid_t uid) { return Selector("unix:uid:" + std::to_string(uid)); }
Selector Selector::unix_gid(gid_t gid) { return Selector("unix:gid:" + std::to_string(gid)); }
Selector Selector::unix_supplementary_gid(gid_t gid) {
  return Selector("unix:supplementary_gid:" + std::to_string(gid));
}

Sources Selector::sources() const { return kind_of(text_)->sources; }

bool Identity::has(const Selector& selector) const {
  return std::binary_search(selectors.begin(), selectors.end(), selector);
}

bool Identity::had(const Selector& selector) const {
  return has(selector) || std::binary_search(past.begin(), past.end(), selector);
}

bool Identity::may_have(const Selector& selector) const {
  return had(selector) || !known.cover(selector.sources());
}

}  // namespace coffer
