#include "keystore/kms/aws_arn.h"

#include <algorithm>
#include <array>

namespace coffer {
namespace {

constexpr std::string_view kScheme = "aws-kms://";
constexpr std::size_t kLongestAlias = 250;

bool is_lower(char letter) { return letter >= 'a' && letter <= 'z'; }
bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }
bool is_hex(char letter) { return is_digit(letter) || (letter >= 'a' && letter <= 'f'); }

/// "-east-1", after what stands for the continent.
bool is_rest_of_region(std::string_view rest) {
  if (!rest.starts_with('-')) return false;
  rest.remove_prefix(1);
  const std::size_t dash = rest.find('-');
  if (dash == 0 || dash == std::string_view::npos) return false;
  const std::string_view number = rest.substr(dash + 1);
  return std::ranges::all_of(rest.substr(0, dash), is_lower) && !number.empty() &&
         number.size() <= 2 && std::ranges::all_of(number, is_digit);
}

bool is_uuid(std::string_view text) {
  constexpr std::array<std::size_t, 4> kDashes = {8, 13, 18, 23};
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = std::ranges::find(kDashes, i) != kDashes.end();
    if (dash ? text[i] != '-' : !is_hex(text[i])) return false;
  }
  return true;
}

/// Of one region, or of a key with replicas in several.
bool is_key_id(std::string_view text) {
  constexpr std::string_view kMultiRegion = "mrk-";
  if (!text.starts_with(kMultiRegion)) return is_uuid(text);
  text.remove_prefix(kMultiRegion.size());
  return text.size() == 32 && std::ranges::all_of(text, is_hex);
}

bool is_alias_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestAlias &&
         std::ranges::all_of(text, [](char letter) {
           return is_lower(letter) || is_digit(letter) || (letter >= 'A' && letter <= 'Z') ||
                  letter == '/' || letter == '_' || letter == '-';
         });
}

/// What stands before the next colon, which goes with it.
std::string_view next_part(std::string_view& rest) {
  const std::size_t colon = std::min(rest.find(':'), rest.size());
  const std::string_view part = rest.substr(0, colon);
  rest.remove_prefix(std::min(colon + 1, rest.size()));
  return part;
}

}  // namespace

std::string_view aws_partition_of(std::string_view region) {
  constexpr std::string_view kGov = "us-gov";
  if (region.starts_with(kGov) && is_rest_of_region(region.substr(kGov.size())))
    return "aws-us-gov";
  if (region.size() < 2 || !is_lower(region[0]) || !is_lower(region[1]) ||
      !is_rest_of_region(region.substr(2)))
    return {};
  return region.starts_with("cn") ? "aws-cn" : "aws";
}

std::string aws_host(std::string_view service, std::string_view region) {
  const bool china = aws_partition_of(region) == "aws-cn";
  return std::string(service) + "." + std::string(region) + ".amazonaws.com" + (china ? ".cn" : "");
}

Result<AwsKeyArn> AwsKeyArn::parse(std::string_view arn) {
  const Error malformed{Code::kInvalid, 0,
                        "not aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID or :alias/NAME "
                        "(credentials and settings are the node's own, see keystore/AWS.md)"};
  AwsKeyArn out;
  out.text = arn;
  if (next_part(arn) != "arn") return malformed;
  out.partition = next_part(arn);
  if (next_part(arn) != "kms") return malformed;
  out.region = next_part(arn);
  out.account = next_part(arn);
  if (out.partition.empty() || aws_partition_of(out.region) != out.partition ||
      out.account.size() != 12 || !std::ranges::all_of(out.account, is_digit))
    return malformed;
  constexpr std::string_view kKey = "key/";
  constexpr std::string_view kAlias = "alias/";
  if (arn.starts_with(kAlias) && is_alias_name(arn.substr(kAlias.size()))) return out;
  if (!arn.starts_with(kKey) || !is_key_id(arn.substr(kKey.size()))) return malformed;
  out.key_id = arn.substr(kKey.size());
  return out;
}

Result<AwsKeyArn> AwsKeyArn::of_uri(std::string_view uri) {
  // Of another scheme, an ARN that can't be.
  return parse(uri.starts_with(kScheme) ? uri.substr(kScheme.size()) : std::string_view());
}

std::string AwsKeyArn::uri() const { return std::string(kScheme) + text; }

}  // namespace coffer
