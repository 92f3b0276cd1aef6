#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"

namespace coffer::testing {

using Json = nlohmann::json;

/// The field of a Wycheproof group or test, in hex there.
inline ByteVector hex_field(const Json& object, const char* name) {
  return unhex(object.at(name).get<std::string>());
}

inline bool is_valid(const Json& test) { return test.at("result") == "valid"; }

/// Runs `check` on every test of the groups of $COFFER_VECTORS/wycheproof/FILE that `selected`
/// takes; `check` says whether it could use it. Fails where a group holds no tests, and records how
/// many tests were checked (property "vectors") for the caller to compare.
inline std::size_t for_each_wycheproof(const std::string& file,
                                       const std::function<bool(const Json& group)>& selected,
                                       const std::function<bool(const Json& test)>& check) {
  const std::string path = environment("COFFER_VECTORS") + "/wycheproof/" + file;
  std::ifstream stream(path);
  if (!stream) {
    ADD_FAILURE() << "can't read " << path;
    return 0;
  }
  const Json document = Json::parse(stream);
  std::size_t checked = 0;
  for (const Json& group : document.at("testGroups")) {
    if (!selected(group)) continue;
    const Json& tests = group.at("tests");
    EXPECT_FALSE(tests.empty()) << file << " has a group without tests";
    for (const Json& test : tests) {
      SCOPED_TRACE(file + ", tcId " + test.at("tcId").dump() + ", " +
                   test.at("comment").get<std::string>());
      if (check(test)) ++checked;
    }
  }
  ::testing::Test::RecordProperty("vectors", std::to_string(checked));
  return checked;
}

}  // namespace coffer::testing

/// Leaves the test, visibly, where there are no Wycheproof vectors: they are no part of the
/// repository, nor of Debian.
#define COFFER_NEED_WYCHEPROOF()                                \
  do {                                                          \
    if (coffer::testing::environment("COFFER_VECTORS").empty()) \
      GTEST_SKIP() << "COFFER_VECTORS names no directory";      \
  } while (false)
