#include "keystore/cli/values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <optional>

namespace coffer {
namespace {

constexpr unsigned kMinChunkLog2 = 12;
constexpr unsigned kMaxChunkLog2 = 20;

struct Unit {
  char letter;
  std::int64_t seconds;
};
constexpr std::array<Unit, 5> kUnits = {
    {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}}};

std::optional<std::int64_t> leading_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return number;
}

/// How many bytes at `at` are a control character: C0 and DEL, or C1 as UTF-8 writes it.
std::size_t control_length(std::string_view text, std::size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x20 || byte == 0x7f) return 1;
  if (byte != 0xc2 || at + 1 == text.size()) return 0;
  const auto next = static_cast<unsigned char>(text[at + 1]);
  return next >= 0x80 && next < 0xa0 ? 2 : 0;
}

/// With each control byte written by `form`, the rest by `rest`.
template <typename Rest>
std::string escaped(std::string_view text, const char* form, const Rest& rest) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t control = control_length(text, at);
    if (control == 0) out += rest(text[at++]);
    for (const std::size_t end = at + control; at < end; ++at) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), form, static_cast<unsigned char>(text[at]));
      out += code.data();
    }
  }
  return out;
}

bool has_control(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (control_length(text, at) > 0) return true;
  }
  return false;
}

constexpr std::string_view kPlainInShell =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,";

}  // namespace

Result<std::int64_t> parse_duration(std::string_view text) {
  const Error malformed{Code::kInvalid, 0,
                        "no duration: " + std::string(text) + " (as in 90s, 15m, 8h, 7d, 2w)"};
  std::string_view rest = text;
  const auto number = leading_number(rest);
  if (!number) return malformed;
  if (rest.empty() && *number == 0) return std::int64_t{0};
  for (const Unit& unit : kUnits) {
    if (rest.size() != 1 || rest[0] != unit.letter) continue;
    if (*number > INT64_MAX / unit.seconds / 1024) return malformed;
    return *number * unit.seconds;
  }
  return malformed;
}

std::string format_duration(std::int64_t seconds) {
  if (seconds == 0) return "0";
  // Weeks are not shown: 14d says it better to most.
  for (const char letter : {'d', 'h', 'm', 's'}) {
    const auto* const unit = std::find_if(
        kUnits.begin(), kUnits.end(), [&](const Unit& known) { return known.letter == letter; });
    if (seconds % unit->seconds == 0) return std::to_string(seconds / unit->seconds) + letter;
  }
  return std::to_string(seconds) + "s";
}

Result<std::int64_t> parse_time(const std::string& text) {
  for (const char* const form : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"}) {
    std::tm parts{};
    const char* const end = ::strptime(text.c_str(), form, &parts);
    if (end != nullptr && *end == '\0') return static_cast<std::int64_t>(::timegm(&parts));
  }
  return Error{Code::kInvalid, 0,
               "no time: " + text + " (as in 2026-12-31 or 2026-12-31T18:00:00Z)"};
}

Result<unsigned> parse_chunk_size(std::string_view text) {
  const Error malformed{Code::kInvalid, 0,
                        "no chunk size: " + std::string(text) + " (a power of two from 4k to 1M)"};
  std::string_view rest = text;
  const auto number = leading_number(rest);
  if (!number || *number > (std::int64_t{1} << kMaxChunkLog2)) return malformed;
  auto bytes = static_cast<std::uint64_t>(*number);
  if (rest == "k" || rest == "K") {
    bytes <<= 10U;
  } else if (rest == "m" || rest == "M") {
    bytes <<= 20U;
  } else if (!rest.empty()) {
    return malformed;
  }
  if (!std::has_single_bit(bytes)) return malformed;
  const auto log2 = static_cast<unsigned>(std::bit_width(bytes) - 1);
  if (log2 < kMinChunkLog2 || log2 > kMaxChunkLog2) return malformed;
  return log2;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 6> kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t name = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && name + 1 < kNames.size()) {
    value /= 1024;
    ++name;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), name == 0 ? "%.0f %s" : "%.1f %s", value, kNames[name]);
  return text.data();
}

std::string printable(std::string_view text) {
  return escaped(text, "\\x%02x", [](char byte) { return std::string(1, byte); });
}

std::string shell_word(std::string_view text) {
  if (!text.empty() && text.find_first_not_of(kPlainInShell) == std::string_view::npos)
    return std::string(text);
  if (!has_control(text)) {
    std::string word = "'";
    for (const char byte : text) word += byte == '\'' ? std::string("'\\''") : std::string(1, byte);
    return word + "'";
  }
  return "$'" +
         escaped(text, "\\%03o",
                 [](char byte) {
                   return (byte == '\'' || byte == '\\' ? "\\" : "") + std::string(1, byte);
                 }) +
         "'";
}

void print_table(const std::vector<std::vector<std::string>>& given) {
  std::vector<std::vector<std::string>> rows = given;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
  }
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    std::puts(line.c_str());
  }
}

}  // namespace coffer
