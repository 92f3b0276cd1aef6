#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "keystore/access/proposal.h"

namespace coffer {

/// A line of the audit log about a request that was decided: a release or a refusal.
struct RequestLine {
  std::string time;
  std::string store;
  std::string scope;  ///< its path
  std::string path;
  bool allowed = false;
  Observation request;
};

/// Nothing if the line is of another kind, torn, or says less than that. What it says besides, and
/// selectors of kinds that this program does not know, are passed over.
std::optional<RequestLine> parse_request_line(std::string_view line);

}  // namespace coffer
