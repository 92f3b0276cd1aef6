#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "keystore/kms/master_kms.h"

namespace coffer::testing {

/// The value of a fact; empty if there is none.
inline std::string fact(const std::vector<KmsFact>& facts, std::string_view name) {
  for (const KmsFact& each : facts) {
    if (each.name == name) return each.value;
  }
  return {};
}

/// "NAME=VALUE;" of each up to those of the connection.
inline std::string facts_of_the_key(const std::vector<KmsFact>& facts) {
  std::string said;
  for (const KmsFact& each : facts) {
    if (each.name == "connection") break;
    said += each.name + "=" + each.value + ";";
  }
  return said;
}

}  // namespace coffer::testing
