#include "keystore/kms/json_answer.h"

#include <nlohmann/json.hpp>

namespace coffer {

nlohmann::json json_object(Bytes text) {
  auto json = nlohmann::json::parse(as_text(text), nullptr, false);
  return json.is_object() ? json : nlohmann::json::object();
}

nlohmann::json json_member(const nlohmann::json& json, const char* name) {
  return json.is_object() ? json.value(name, nlohmann::json()) : nlohmann::json();
}

std::string json_text(const nlohmann::json& json, const char* name) {
  const auto value = json_member(json, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

}  // namespace coffer
