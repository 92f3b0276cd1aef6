#include "tests/support/memory_scan.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace coffer::testing {
namespace {

constexpr std::uint8_t kMask = 0x5a;

struct Mapping {
  const std::uint8_t* begin = nullptr;
  const std::uint8_t* end = nullptr;
  bool locked = false;
};

std::vector<Mapping> writable_mappings() {
  std::vector<Mapping> mappings;
  std::ifstream smaps("/proc/self/smaps");
  bool writable = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word.back() != ':') {
      const std::size_t dash = word.find('-');
      std::string rights;
      words >> rights;
      writable = rights.rfind("rw", 0) == 0;
      if (!writable) continue;
      Mapping mapping;
      mapping.begin =
          reinterpret_cast<const std::uint8_t*>(std::stoull(word.substr(0, dash), nullptr, 16));
      mapping.end =
          reinterpret_cast<const std::uint8_t*>(std::stoull(word.substr(dash + 1), nullptr, 16));
      mappings.push_back(mapping);
    } else if (word == "VmFlags:" && writable) {
      while (words >> word) mappings.back().locked = mappings.back().locked || word == "lo";
    }
  }
  return mappings;
}

}  // namespace

HiddenNeedle::HiddenNeedle(Bytes secret) {
  for (const std::uint8_t byte : secret) masked_.push_back(byte ^ kMask);
}

bool HiddenNeedle::stands_at(const std::uint8_t* place) const {
  for (std::size_t i = 0; i < masked_.size(); ++i) {
    if ((place[i] ^ masked_[i]) != kMask) return false;
  }
  return true;
}

std::uint8_t HiddenNeedle::first() const { return masked_.at(0) ^ kMask; }

std::size_t count_in_ordinary_memory(const HiddenNeedle& needle) {
  std::size_t count = 0;
  for (const Mapping& mapping : writable_mappings()) {
    if (mapping.locked) continue;
    const std::uint8_t* place = mapping.begin;
    while (place + needle.size() <= mapping.end) {
      const auto left = static_cast<std::size_t>(mapping.end - place) - needle.size() + 1;
      place = static_cast<const std::uint8_t*>(std::memchr(place, needle.first(), left));
      if (place == nullptr) break;
      if (needle.stands_at(place)) ++count;
      ++place;
    }
  }
  return count;
}

}  // namespace coffer::testing
