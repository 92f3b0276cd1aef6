#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "keystore/access/selector.h"

namespace coffer {

/// A value in the form of its selector's, or nothing (Selector::attested).
inline std::optional<std::string> attested_value(std::string_view kind, std::string_view value) {
  if (!Selector::attested(kind, value).has_value()) return std::nullopt;
  return std::string(value);
}

}  // namespace coffer
