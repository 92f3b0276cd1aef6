#pragma once

#include <map>
#include <string>
#include <vector>

#include "keystore/base/bytes.h"

namespace coffer::testing {

/// Where Debian's python3-cryptography-vectors puts its files (NIST CAVP, RFCs).
inline constexpr const char* kDebianVectors =
    "/usr/lib/python3/dist-packages/cryptography_vectors/";

/// One test vector: its "Name = value" lines, those of the "[Name = value]" sections it stands in,
/// and lines of one word (FAIL) as names without a value. Asking for a name that is not there
/// throws, which fails the test.
class TestVector {
 public:
  [[nodiscard]] bool has(const std::string& name) const { return fields_.count(name) != 0; }
  [[nodiscard]] const std::string& text(const std::string& name) const { return fields_.at(name); }
  /// A value in hex, or in double quotes as it stands.
  [[nodiscard]] ByteVector bytes(const std::string& name) const;
  [[nodiscard]] unsigned long number(const std::string& name) const;

  void set(const std::string& name, const std::string& value) { fields_[name] = value; }

 private:
  std::map<std::string, std::string> fields_;
};

/// The vectors of a CAVP-like text file; each begins with the name that the file's first one does.
/// Empty if there is no such file.
std::vector<TestVector> read_test_vectors(const std::string& path);

/// For hex that stands in a test: throws if it is none.
ByteVector unhex(std::string_view text);

}  // namespace coffer::testing
