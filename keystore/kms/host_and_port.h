#pragma once

#include <string>
#include <string_view>

#include "keystore/base/result.h"

namespace coffer {

/// `host` in lower case, with this port; an IPv6 address in brackets.
struct HostAndPort {
  std::string host;
  unsigned port = 0;
  bool operator==(const HostAndPort&) const = default;
};

/// "HOST", "HOST:PORT", "[::1]:PORT". kInvalid for anything else, a user before an @ included.
Result<HostAndPort> parse_host(std::string_view text, unsigned default_port);

}  // namespace coffer
