#include "mount-tools/privileges.h"

#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <type_traits>

namespace coffer {
namespace {

struct CapFree {
  void operator()(void* object) const { ::cap_free(object); }
};
using Capabilities = std::unique_ptr<std::remove_pointer_t<cap_t>, CapFree>;

bool is_set(const Capabilities& all, int capability, cap_flag_t set) {
  cap_flag_value_t value = CAP_CLEAR;
  return ::cap_get_flag(all.get(), capability, set, &value) == 0 && value == CAP_SET;
}

}  // namespace

Result<void> give_up_privileges(std::span<const int> kept) {
  const Capabilities now(::cap_get_proc());
  const Capabilities next(::cap_init());
  if (now == nullptr || next == nullptr) return errno_error(errno, "capabilities");
  for (int capability = 0; capability < ::cap_max_bits(); ++capability) {
    if (std::find(kept.begin(), kept.end(), capability) != kept.end()) {
      if (!is_set(now, capability, CAP_PERMITTED)) continue;
      for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE}) {
        if (::cap_set_flag(next.get(), set, 1, &capability, CAP_SET) != 0)
          return errno_error(errno, "capabilities");
      }
    } else if (::cap_get_bound(capability) == 1 && ::cap_drop_bound(capability) != 0 &&
               errno != EPERM) {
      // Who may not drop it gets nothing by it either once new privileges are forbidden.
      return errno_error(errno, "capabilities");
    }
  }
  // The inheritable and the ambient ones go with it.
  if (::cap_set_proc(next.get()) != 0) return errno_error(errno, "capabilities");
  return {};
}

bool has_capability(int capability) {
  const Capabilities now(::cap_get_proc());
  return now != nullptr && is_set(now, capability, CAP_EFFECTIVE);
}

std::string capability_names() {
  const Capabilities now(::cap_get_proc());
  std::string names;
  for (int capability = 0; now != nullptr && capability < ::cap_max_bits(); ++capability) {
    if (!is_set(now, capability, CAP_EFFECTIVE)) continue;
    const std::unique_ptr<char, CapFree> name(::cap_to_name(capability));
    if (name == nullptr) continue;
    if (!names.empty()) names += ',';
    names += std::string(name.get()).substr(sizeof("cap_") - 1);
  }
  return names.empty() ? "none" : names;
}

Result<void> forbid_new_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error(errno, "no new privileges");
  return {};
}

bool new_privileges_are_forbidden() { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1; }

}  // namespace coffer
