#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "keystore/access/grant.h"

namespace coffer::testing {

inline constexpr std::int64_t kNow = 1'700'000'000;

/// In force for good, of the root scope; for everyone if there are no selectors.
inline Grant allow(std::int64_t id, Rights rights, std::vector<Selector> selectors) {
  Grant grant;
  grant.id = GrantId{id};
  grant.scope = kRootScope;
  grant.rights = rights;
  grant.everyone = selectors.empty();
  grant.selectors = std::move(selectors);
  return grant;
}

inline Grant deny(std::int64_t id, Rights rights, std::vector<Selector> selectors) {
  Grant grant = allow(id, rights, std::move(selectors));
  grant.deny = true;
  return grant;
}

}  // namespace coffer::testing
