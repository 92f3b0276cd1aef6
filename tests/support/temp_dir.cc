#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace coffer::testing {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool all_tests_required() { return !environment("COFFER_REQUIRE_ALL_TESTS").empty(); }

TempDir::TempDir() {
  const std::string base = environment("TMPDIR").empty() ? "/tmp" : environment("TMPDIR");
  std::string pattern = base + "/coffer-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace coffer::testing
