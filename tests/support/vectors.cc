#include "tests/support/vectors.h"

#include <fstream>
#include <stdexcept>

namespace coffer::testing {
namespace {

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

struct Field {
  std::string name;
  std::string value;
};

Field split(const std::string& line) {
  const std::size_t sign = line.find('=');
  if (sign == std::string::npos) return {trimmed(line), {}};
  return {trimmed(line.substr(0, sign)), trimmed(line.substr(sign + 1))};
}

}  // namespace

ByteVector unhex(std::string_view text) {
  auto bytes = from_hex(text);
  if (!bytes) throw std::invalid_argument("not hex: " + std::string(text));
  return std::move(*bytes);
}

ByteVector TestVector::bytes(const std::string& name) const {
  const std::string& value = text(name);
  if (value.size() < 2 || value.front() != '"') return unhex(value);
  return {value.begin() + 1, value.end() - 1};
}

unsigned long TestVector::number(const std::string& name) const { return std::stoul(text(name)); }

std::vector<TestVector> read_test_vectors(const std::string& path) {
  std::vector<TestVector> vectors;
  std::ifstream file(path);
  TestVector section;
  std::string first_name;
  bool section_changed = false;
  for (std::string line; std::getline(file, line);) {
    line = trimmed(line);
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      const Field field = split(line.substr(1, line.find(']') - 1));
      section.set(field.name, field.value);
      section_changed = true;
      continue;
    }
    const Field field = split(line);
    if (first_name.empty()) first_name = field.name;
    if (field.name == first_name || section_changed) vectors.push_back(section);
    section_changed = false;
    vectors.back().set(field.name, field.value);
  }
  return vectors;
}

}  // namespace coffer::testing
