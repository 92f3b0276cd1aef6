#pragma once

#include <cstdint>
#include <cstdlib>

#include "tests/support/sanitizers.h"

namespace coffer::testing {

/// A number from the environment; `otherwise` if it is unset or empty.
inline std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Operations of each test: COFFER_MODEL_OPERATIONS, or what a build is quick with.
inline std::uint64_t operations_to_do() {
  return number_from("COFFER_MODEL_OPERATIONS", COFFER_SANITIZED != 0 ? 1000 : 3000);
}

/// COFFER_MODEL_SEED, to run a failure again, or the test's own.
inline std::uint64_t seed_or(std::uint64_t own) { return number_from("COFFER_MODEL_SEED", own); }

}  // namespace coffer::testing
