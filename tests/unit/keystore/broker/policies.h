#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "keystore/broker/policy.h"

namespace coffer::testing {

inline constexpr std::int64_t kNow = 1000;
inline constexpr Rights kList{1};
inline constexpr Rights kRead{2};
inline constexpr Rights kWrite{4};

inline ScopeRow scope(std::uint32_t id, std::string path) {
  ScopeRow row;
  row.id = ScopeId{id};
  row.path = std::move(path);
  return row;
}

inline Identity user(uid_t uid) {
  return {.uid = uid, .gid = 50, .pid = 99, .selectors = {Selector::unix_uid(uid)}};
}

}  // namespace coffer::testing
