#include "keystore/kms/secret_text.h"

#include <algorithm>
#include <optional>

namespace coffer {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Looks at all letters, whichever it is. -1 for one that is none.
int value_of(std::uint8_t letter) {
  int value = -1;
  for (int i = 0; i < 64; ++i) {
    const int same = static_cast<std::uint8_t>(kAlphabet[static_cast<std::size_t>(i)]) == letter;
    value = same * i + (1 - same) * value;
  }
  return value;
}

bool is_space(std::uint8_t byte) {
  return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

std::size_t skip_space(Bytes text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

/// Where the string that begins at `at` (its first letter) ends: at its quote. None if it does not.
std::optional<std::size_t> end_of_string(Bytes text, std::size_t at) {
  for (; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  if (at >= text.size()) return std::nullopt;
  return at;
}

}  // namespace

SecretBytes secret_text(std::span<const Bytes> parts) {
  std::size_t length = 0;
  for (const Bytes part : parts) length += part.size();
  SecretBytes text(length);
  auto at = text.expose().begin();
  for (const Bytes part : parts) at = std::ranges::copy(part, at).out;
  return text;
}

SecretBytes to_secret_base64(Bytes bytes) {
  SecretBytes text((bytes.size() + 2) / 3 * 4);
  const MutableBytes out = text.expose();
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t window = 0;
    for (std::size_t j = 0; j < 3; ++j)
      window = (window << 8U) | (j < count ? bytes[i + j] : std::uint8_t{0});
    for (std::size_t j = 0; j < 4; ++j) {
      out[i / 3 * 4 + j] =
          static_cast<std::uint8_t>(j <= count ? kAlphabet[(window >> (18 - 6 * j)) & 63U] : '=');
    }
  }
  return text;
}

SecretBytes to_secret_base64url(Bytes bytes) {
  SecretBytes text = to_secret_base64(bytes);
  for (std::uint8_t& letter : text.expose()) {
    if (letter == '+') letter = '-';
    if (letter == '/') letter = '_';
  }
  return SecretBytes::copy_of(text.expose().first((bytes.size() * 4 + 2) / 3));
}

SecretBytes to_secret_form(Bytes text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  constexpr std::string_view kPlain = "-._";
  SecretBytes out(text.size() * 3);
  std::size_t length = 0;
  const auto add = [&](char letter) { out.expose()[length++] = static_cast<std::uint8_t>(letter); };
  for (const std::uint8_t byte : text) {
    const char letter = static_cast<char>(byte);
    if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
        (letter >= '0' && letter <= '9') || kPlain.find(letter) != std::string_view::npos) {
      add(letter);
    } else {
      add('%');
      add(kDigits[byte >> 4U]);
      add(kDigits[byte & 15U]);
    }
  }
  return SecretBytes::copy_of(out.expose().first(length));
}

Result<SecretBytes> from_secret_base64(Bytes text) {
  const Error malformed{Code::kInvalid, 0, "not base64"};
  if (text.size() % 4 != 0) return malformed;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  SecretBytes bytes(text.size() / 4 * 3 - padding);
  const MutableBytes out = bytes.expose();
  const std::size_t letters = text.size() - padding;
  std::uint32_t window = 0;
  unsigned bits = 0;
  std::size_t length = 0;
  for (const std::uint8_t letter : text.first(letters)) {
    const int value = value_of(letter);
    if (value < 0) return malformed;
    window = (window << 6U) | static_cast<std::uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[length++] = static_cast<std::uint8_t>(window >> bits);
    }
  }
  if ((window & ((1U << bits) - 1)) != 0) return malformed;
  return bytes;
}

Result<SecretBytes> from_secret_base64url(Bytes text) {
  SecretBytes padded((text.size() + 3) / 4 * 4);
  std::ranges::fill(padded.expose(), std::uint8_t{'='});
  std::ranges::copy(text, padded.expose().begin());
  for (std::uint8_t& letter : padded.expose().first(text.size())) {
    if (letter == '+' || letter == '/' || letter == '=')
      return Error{Code::kInvalid, 0, "not base64url"};
    if (letter == '-') letter = '+';
    if (letter == '_') letter = '/';
  }
  return from_secret_base64(padded.expose());
}

Result<std::vector<SecretBytes>> take_secret_members(MutableBytes json, std::string_view name) {
  const Error malformed{Code::kInvalid, 0, "no such member in the JSON, or no string in it"};
  std::vector<SecretBytes> found;
  for (std::size_t at = 0; at < json.size(); ++at) {
    if (json[at] != '"') continue;
    const auto end = end_of_string(json, at + 1);
    if (!end) return malformed;
    const bool named = as_text(json.subspan(at + 1, *end - at - 1)) == name;
    at = *end;
    const std::size_t colon = skip_space(json, *end + 1);
    if (!named || colon >= json.size() || json[colon] != ':') continue;
    const std::size_t quote = skip_space(json, colon + 1);
    if (quote >= json.size() || json[quote] != '"') return malformed;
    const auto value_end = end_of_string(json, quote + 1);
    if (!value_end) return malformed;
    const MutableBytes value = json.subspan(quote + 1, *value_end - quote - 1);
    found.push_back(SecretBytes::copy_of(value));
    std::ranges::fill(value, std::uint8_t{'*'});
    at = *value_end;
  }
  return found;
}

Result<SecretBytes> take_secret_member(MutableBytes json, std::string_view name) {
  auto found = TRY(take_secret_members(json, name));
  if (found.size() == 1) return std::move(found.front());
  return Error{Code::kInvalid, 0, "no such member in the JSON, or more than one"};
}

Result<SecretBytes> take_secret_if_there(MutableBytes json, std::string_view name) {
  if (as_text(json).find("\"" + std::string(name) + "\"") == std::string_view::npos)
    return SecretBytes();
  return take_secret_member(json, name);
}

Result<SecretBytes> without_escapes(Bytes json_string) {
  constexpr std::string_view kEscapes = "\"\\/bfnrt";
  constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
  constexpr std::string_view kHex = "0123456789abcdef";
  const Error malformed{Code::kInvalid, 0, "no JSON string of ASCII"};
  SecretBytes out(json_string.size());
  std::size_t length = 0;
  for (std::size_t at = 0; at < json_string.size(); ++at) {
    std::uint32_t letter = json_string[at];
    if (letter == '\\') {
      if (++at == json_string.size()) return malformed;
      const std::size_t escape = kEscapes.find(static_cast<char>(json_string[at]));
      if (escape != std::string_view::npos) {
        letter = static_cast<std::uint8_t>(kMeant[escape]);
      } else {
        if (json_string[at] != 'u' || json_string.size() - at < 5) return malformed;
        letter = 0;
        for (int i = 0; i < 4; ++i) {
          const std::size_t digit = kHex.find(static_cast<char>(json_string[++at] | 0x20U));
          if (digit == std::string_view::npos) return malformed;
          letter = letter << 4U | static_cast<std::uint32_t>(digit);
        }
      }
    }
    if (letter > 0x7e) return malformed;
    out.expose()[length++] = static_cast<std::uint8_t>(letter);
  }
  return SecretBytes::copy_of(out.expose().first(length));
}

Result<SecretBytes> from_secret_pem(Bytes text, std::string_view label) {
  const Error malformed{Code::kInvalid, 0, "no PEM of this kind"};
  const std::string begin = "-----BEGIN " + std::string(label) + "-----";
  const std::string end = "-----END " + std::string(label) + "-----";
  const std::string_view all = as_text(text);
  const std::size_t from = all.find(begin);
  const std::size_t to = all.find(end);
  if (from != 0 || to == std::string_view::npos || to < begin.size()) return malformed;
  if (skip_space(text, to + end.size()) != text.size()) return malformed;
  const Bytes lines = text.subspan(begin.size(), to - begin.size());
  SecretBytes letters(lines.size());
  const auto kept = std::ranges::copy_if(lines, letters.expose().begin(),
                                         [](std::uint8_t letter) { return !is_space(letter); });
  return from_secret_base64(
      letters.expose().first(static_cast<std::size_t>(kept.out - letters.expose().begin())));
}

bool is_plain_text(Bytes text) {
  return std::ranges::all_of(text, [](std::uint8_t letter) {
    return letter > 0x20 && letter < 0x7f && letter != '"' && letter != '\\';
  });
}

std::string without_secrets(std::string_view said) {
  constexpr std::size_t kLongestWord = 19;
  constexpr std::size_t kMostWords = 200;
  std::string words;
  std::string word;
  for (std::size_t i = 0; i <= said.size(); ++i) {
    const char letter = i < said.size() ? said[i] : ' ';
    if (letter > ' ' && letter < 0x7f) {
      word.push_back(letter);
    } else if (!word.empty()) {
      words += (words.empty() ? "" : " ") + (word.size() > kLongestWord ? "..." : word);
      word.clear();
    }
  }
  return words.substr(0, kMostWords);
}

}  // namespace coffer
