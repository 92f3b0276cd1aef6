#include "keystore/access/selector.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace coffer {
namespace {

constexpr std::array<std::string_view, 3> kNumericKinds = {
    "unix:uid:", "unix:gid:", "unix:supplementary_gid:"};

bool is_canonical_id(std::string_view value) {
  if (value.empty() || value.size() > 10 || (value.size() > 1 && value[0] == '0')) return false;
  std::uint64_t number = 0;
  for (const char digit : value) {
    if (digit < '0' || digit > '9') return false;
    number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return number < 0xffffffffU;  // the last one means "no id" to the kernel
}

}  // namespace

Result<Selector> Selector::parse(std::string_view text) {
  for (const std::string_view kind : kNumericKinds) {
    if (!text.starts_with(kind)) continue;
    if (is_canonical_id(text.substr(kind.size()))) return Selector(std::string(text));
    return Error{Code::kInvalid, 0,
                 "selector " + std::string(text) + ": the value is a decimal id"};
  }
  return Error{
      Code::kInvalid, 0,
      "selector " + std::string(text) +
          ": not a known kind (there are unix:uid:N, unix:gid:N, unix:supplementary_gid:N)"};
}

Selector Selector::unix_uid(uid_t uid) { return Selector("unix:uid:" + std::to_string(uid)); }
Selector Selector::unix_gid(gid_t gid) { return Selector("unix:gid:" + std::to_string(gid)); }
Selector Selector::unix_supplementary_gid(gid_t gid) {
  return Selector("unix:supplementary_gid:" + std::to_string(gid));
}

bool Selector::is_of_request() const {
  return text_.starts_with("unix:uid:") || text_.starts_with("unix:gid:");
}

bool Identity::has(const Selector& selector) const {
  return std::binary_search(selectors.begin(), selectors.end(), selector);
}

}  // namespace coffer
