#include "keystore/kms/tpm2_record.h"

#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace coffer {
namespace {

constexpr std::string_view kScheme = "tpm2:";
constexpr unsigned kPcrs = 24;
constexpr std::uint32_t kDefaultPcrs = 1U << 7U;
constexpr std::size_t kNameSize = 2 + 32;
/// Of what a TPM gives for 32 bytes the larger part is about 200.
constexpr std::size_t kLargestPart = 1024;

constexpr std::array<std::pair<std::string_view, PcrSelection::Bank>, 3> kBanks = {
    {{"sha256", PcrSelection::Bank::kSha256},
     {"sha384", PcrSelection::Bank::kSha384},
     {"sha512", PcrSelection::Bank::kSha512}}};

std::vector<std::string_view> split(std::string_view text, char between) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(between, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

Error invalid(std::string words) { return {Code::kInvalid, 0, std::move(words)}; }

std::optional<unsigned> pcr_number(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
  if (error != std::errc() || end != text.end() || number >= kPcrs ||
      (text.size() > 1 && text[0] == '0'))
    return std::nullopt;
  return number;
}

Result<PcrSelection> parse_pcrs(std::string_view text) {
  if (text == "none") return PcrSelection{};
  PcrSelection pcrs;
  const std::size_t colon = text.find(':');
  bool known = false;
  for (const auto& [name, bank] : kBanks) {
    if (text.substr(0, colon) != name || colon == text.npos) continue;
    pcrs.bank = bank;
    known = true;
  }
  if (!known) return invalid("tpm2: banks of PCRs are sha256, sha384 and sha512: pcrs=sha256:7+11");
  for (const std::string_view word : split(text.substr(colon + 1), '+')) {
    const auto number = pcr_number(word);
    if (!number || (pcrs.mask >> *number & 1U) != 0)
      return invalid("tpm2: PCRs are numbers from 0 to 23, each once: pcrs=sha256:7+11");
    pcrs.mask |= 1U << *number;
  }
  return pcrs;
}

Result<void> parse_option(std::string_view option, Tpm2Uri& uri) {
  constexpr std::string_view kPcrsAre = "pcrs=";
  constexpr std::string_view kPinIsIn = "pin-source=";
  if (option.starts_with(kPcrsAre)) {
    uri.pcrs = TRY(parse_pcrs(option.substr(kPcrsAre.size())));
    return {};
  }
  if (option == "pin") {
    uri.pin = true;
    return {};
  }
  if (option.starts_with(kPinIsIn)) {
    uri.pin = true;
    uri.pin_source = option.substr(kPinIsIn.size());
    if (uri.pin_source.starts_with('/') && uri.pin_source.find('\0') == std::string::npos)
      return {};
    return invalid("tpm2: the path of the PIN's file has to be absolute: pin-source=/FILE");
  }
  if (option.starts_with("pin=") || option.starts_with("pin-value="))
    return invalid(
        "tpm2: a PIN in a URI would be put on record; say pin, to be asked for it, or put it "
        "into a file of mode 600 and say pin-source=/FILE");
  return invalid("tpm2: there are pcrs=BANK:N+N, pcrs=none, pin and pin-source=/FILE");
}

/// The text after "NAME=", or nothing.
std::string_view value_of(std::string_view word, std::string_view name) {
  if (!word.starts_with(name) || word.substr(name.size(), 1) != "=") return {};
  return word.substr(name.size() + 1);
}

}  // namespace

std::string PcrSelection::text() const {
  if (mask == 0) return "none";
  std::string text;
  for (const auto& [name, each] : kBanks) {
    if (each == bank) text = name;
  }
  char between = ':';
  for (unsigned number = 0; number < kPcrs; ++number) {
    if ((mask >> number & 1U) == 0) continue;
    text += std::exchange(between, '+') + std::to_string(number);
  }
  return text;
}

Result<Tpm2Uri> Tpm2Uri::parse(const std::string& uri) {
  Tpm2Uri parsed;
  parsed.pcrs.mask = kDefaultPcrs;
  if (!uri.starts_with(kScheme)) return invalid("not a tpm2: URI");
  const std::string_view options = std::string_view(uri).substr(kScheme.size());
  if (options.empty()) return parsed;
  std::vector<std::string_view> seen;
  for (const std::string_view option : split(options, ';')) {
    const std::string_view name = option.substr(0, std::min(option.find('='), option.find('-')));
    for (const std::string_view earlier : seen) {
      if (earlier == name) return invalid("tpm2: an option stands there twice");
    }
    seen.push_back(name);
    TRY(parse_option(option, parsed));
  }
  return parsed;
}

std::string Tpm2Uri::text() const {
  std::string text = std::string(kScheme) + "pcrs=" + pcrs.text();
  if (!pin_source.empty()) return text + ";pin-source=" + pin_source;
  return pin ? text + ";pin" : text;
}

Result<Tpm2Sealed> Tpm2Sealed::parse(const std::string& params) {
  const Error malformed{Code::kCorrupt, 0, "keystore: malformed parameters of a TPM's master key"};
  const auto words = split(params, ' ');
  if (words.size() < 2 || words[0] != "tpm2" || !words[1].starts_with("v=")) return malformed;
  if (words[1] != "v=1")
    return Error{Code::kUnknownVersion, 0, "master key on a TPM of an unknown version"};
  if (words.size() != 5) return malformed;
  auto storage_key = from_hex(value_of(words[2], "storage-key"));
  auto public_area = from_base64url(value_of(words[3], "public"));
  auto private_area = from_base64url(value_of(words[4], "private"));
  if (!storage_key || !public_area || !private_area) return malformed;
  const Tpm2Sealed sealed{*std::move(storage_key), *std::move(public_area),
                          *std::move(private_area)};
  if (sealed.storage_key.size() != kNameSize || sealed.public_area.empty() ||
      sealed.public_area.size() > kLargestPart || sealed.private_area.empty() ||
      sealed.private_area.size() > kLargestPart || sealed.text() != params)
    return malformed;
  return sealed;
}

std::string Tpm2Sealed::text() const {
  return "tpm2 v=1 storage-key=" + to_hex(storage_key) + " public=" + to_base64url(public_area) +
         " private=" + to_base64url(private_area);
}

}  // namespace coffer
