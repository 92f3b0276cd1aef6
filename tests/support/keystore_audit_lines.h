#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coffer::testing {

/// The text lines of a log as they lie in the file; one that is not ended by a newline counts.
std::vector<std::string> text_lines(const std::string& path);

/// The same parsed; a line that is no JSON object becomes a discarded value, and a failure of the
/// test.
std::vector<nlohmann::json> audit_lines(const std::string& path);

}  // namespace coffer::testing
