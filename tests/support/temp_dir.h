#pragma once

#include <string>

namespace coffer::testing {

/// A directory of the test's own under $TMPDIR (or /tmp), removed with all it holds.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Value of an environment variable; empty if it is unset or empty.
std::string environment(const char* name);

/// True where every test has to run (CI): what would be a skip is a failure there.
bool all_tests_required();

}  // namespace coffer::testing

/// Leaves the test for want of something on this machine: a visible skip, or a failure where all
/// tests are required.
#define COFFER_SKIP(reason)                                                             \
  do {                                                                                  \
    if (coffer::testing::all_tests_required()) FAIL() << "required here: " << (reason); \
    GTEST_SKIP() << (reason);                                                           \
  } while (false)
