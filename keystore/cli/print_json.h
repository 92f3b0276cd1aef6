#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace coffer {

/// One line, for another program. Names that are no UTF-8 lose what is not.
std::string json_line(const nlohmann::ordered_json& value);

/// What `--json` prints on stdout. The same of names.
void print_json(const nlohmann::ordered_json& value);

}  // namespace coffer
