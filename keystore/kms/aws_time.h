#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace coffer {

/// "20150830T123600Z", as requests to AWS are dated.
std::string aws_timestamp(std::int64_t unix_seconds);

/// Unix seconds of "2026-11-23T15:28:52Z" (also with a fraction, which is dropped), as AWS dates
/// the end of credentials; none of anything else.
std::optional<std::int64_t> parse_aws_time(std::string_view text);

/// Unix seconds of "Mon, 23 Nov 2026 15:28:52 GMT", the form of RFC 9110 section 5.6.7 that is sent
/// today; none of anything else.
std::optional<std::int64_t> parse_http_date(std::string_view text);

}  // namespace coffer
