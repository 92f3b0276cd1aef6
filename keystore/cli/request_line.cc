#include "keystore/cli/request_line.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coffer {
namespace {

using Json = nlohmann::json;

/// The text of a field; empty if there is none.
std::string text_of(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::vector<Selector> selectors_of(const Json& line) {
  std::vector<Selector> selectors;
  const auto identity = line.find("identity");
  if (identity == line.end() || !identity->is_object()) return selectors;
  const auto list = identity->find("selectors");
  if (list == identity->end() || !list->is_array()) return selectors;
  for (const Json& text : *list) {
    if (!text.is_string()) continue;
    if (auto selector = Selector::parse(text.get<std::string>()))
      selectors.push_back(std::move(*selector));
  }
  std::sort(selectors.begin(), selectors.end());
  selectors.erase(std::unique(selectors.begin(), selectors.end()), selectors.end());
  return selectors;
}

}  // namespace

std::optional<RequestLine> parse_request_line(std::string_view text) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) return std::nullopt;
  RequestLine parsed;
  const std::string event = text_of(line, "event");
  if (event != "release" && event != "refuse") return std::nullopt;
  parsed.allowed = event == "release";
  parsed.time = text_of(line, "time");
  parsed.store = text_of(line, "store");
  parsed.scope = text_of(line, "scope");
  parsed.path = text_of(line, "path");
  const auto rights = rights_from_text(text_of(line, "right"));
  if (parsed.time.empty() || parsed.scope.empty() || !rights) return std::nullopt;
  parsed.request.rights = *rights;
  parsed.request.selectors = selectors_of(line);
  const auto grant = line.find("grant");
  if (!parsed.allowed && grant != line.end() && grant->is_number_integer())
    parsed.request.refused_by = GrantId{grant->get<std::int64_t>()};
  return parsed;
}

}  // namespace coffer
