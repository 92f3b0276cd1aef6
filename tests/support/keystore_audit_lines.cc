#include "tests/support/keystore_audit_lines.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace coffer::testing {

std::vector<std::string> text_lines(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::vector<nlohmann::json> audit_lines(const std::string& path) {
  std::vector<nlohmann::json> lines;
  for (const std::string& text : text_lines(path)) {
    lines.push_back(nlohmann::json::parse(text, nullptr, false));
    EXPECT_TRUE(lines.back().is_object()) << "line " << lines.size() << ": " << text;
  }
  return lines;
}

}  // namespace coffer::testing
