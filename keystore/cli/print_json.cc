#include "keystore/cli/print_json.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace coffer {
namespace {

constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;

}  // namespace

std::string json_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, kReplace);
}

void print_json(const nlohmann::ordered_json& value) {
  std::puts(value.dump(2, ' ', false, kReplace).c_str());
}

}  // namespace coffer
