#include "keystore/access/selector_values.h"

#include <cstdint>

namespace coffer {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alnum(char c) { return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z'); }

template <typename Allowed>
bool consists_of(std::string_view value, std::size_t longest, Allowed&& allowed) {
  return !value.empty() && value.size() <= longest &&
         std::all_of(value.begin(), value.end(), allowed);
}

bool is_one_of(char c, std::string_view letters) { return letters.find(c) != letters.npos; }

/// How many bytes the character at the beginning of `text` has; 0 if it is no UTF-8 (RFC 3629), or
/// a control character.
std::size_t printable_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  std::uint32_t letter = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    letter = (letter << 6U) | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && letter < 0x800) || (length == 4 && letter < 0x10000);
  const bool surrogate = letter >= 0xd800 && letter <= 0xdfff;
  if (overlong || surrogate || letter > 0x10ffff) return 0;
  // C1 controls, and what breaks a line or turns the direction of what follows.
  const bool control = letter < 0xa0 || letter == 0x2028 || letter == 0x2029 ||
                       (letter >= 0x202a && letter <= 0x202e) ||
                       (letter >= 0x2066 && letter <= 0x2069);
  return control ? 0 : length;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = printable_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool is_absolute_path(std::string_view value) {
  if (value.size() < 2 || value.size() > 4095 || value.front() != '/' || !is_printable(value))
    return false;
  while (!value.empty()) {
    value.remove_prefix(1);
    const std::string_view part = value.substr(0, value.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    value.remove_prefix(part.size());
  }
  return true;
}

}  // namespace

bool is_canonical_id(std::string_view value) {
  if (value.empty() || value.size() > 10 || (value.size() > 1 && value[0] == '0')) return false;
  std::uint64_t number = 0;
  for (const char digit : value) {
    if (!is_digit(digit)) return false;
    number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return number < 0xffffffffU;
}

bool is_uuid(std::string_view value) {
  if (value.size() != 36) return false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? value[i] != '-' : !is_hex<1>(value.substr(i, 1))) return false;
  }
  return true;
}

bool is_account_name(std::string_view value) {
  return consists_of(value, 255,
                     [](char c) { return c >= ' ' && c <= '~' && !is_one_of(c, ":/"); }) &&
         value.front() != ' ' && value.back() != ' ';
}

bool is_cgroup_path(std::string_view value) {
  // What the kernel says of a group that is gone while a process is still in it.
  return value == "/" || (is_absolute_path(value) && !value.ends_with(" (deleted)"));
}

bool is_executable_path(std::string_view value) {
  return is_absolute_path(value) && !value.ends_with(" (deleted)");
}

bool is_unit_name(std::string_view value) {
  const bool known = value.ends_with(".service") || value.ends_with(".scope");
  return known && value.front() != '.' &&
         consists_of(value, 255, [](char c) { return is_alnum(c) || is_one_of(c, ":-_.\\@"); });
}

bool is_step_name(std::string_view value) {
  if (!value.empty() && is_digit(value.front())) return is_canonical_id(value);
  return consists_of(value, 32, is_lower);
}

bool is_label(std::string_view value) {
  return consists_of(value, 1023, [](char c) { return is_alnum(c) || is_one_of(c, "_.:,-"); }) &&
         std::count(value.begin(), value.end(), ':') >= 2 && value.front() != ':' &&
         value.back() != ':' && value.find("::") == std::string_view::npos;
}

bool is_host_name(std::string_view value) {
  return consists_of(value, 253,
                     [](char c) { return is_digit(c) || is_lower(c) || is_one_of(c, "-._"); }) &&
         value.front() != '.' && value.front() != '-' && value.back() != '.';
}

}  // namespace coffer
