#include "keystore/kms/host_and_port.h"

#include <algorithm>
#include <cstdlib>

namespace coffer {

Result<HostAndPort> parse_host(std::string_view text, unsigned default_port) {
  const Error malformed{Code::kInvalid, 0, "no HOST:PORT"};
  const std::size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return malformed;
  const std::size_t colon = text.find(':', bracket);
  HostAndPort out{std::string(text.substr(0, colon)), default_port};
  const std::string_view in_brackets = bracket > 0 ? "[]:" : "-._";
  for (char& letter : out.host) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    if (letter >= 'A' && letter <= 'Z') {
      letter = static_cast<char>(letter - 'A' + 'a');
    } else if (!plain && in_brackets.find(letter) == std::string_view::npos) {
      return malformed;
    }
  }
  if (out.host.empty() || (bracket > 0 && out.host.size() != bracket + 1)) return malformed;
  if (colon == std::string_view::npos) return out;
  const std::string_view digits = text.substr(colon + 1);
  const bool numeric =
      std::ranges::all_of(digits, [](char digit) { return digit >= '0' && digit <= '9'; });
  if (digits.empty() || digits.size() > 5 || digits[0] == '0' || !numeric) return malformed;
  out.port = static_cast<unsigned>(std::strtoul(std::string(digits).c_str(), nullptr, 10));
  if (out.port > 65535) return malformed;
  return out;
}

}  // namespace coffer
