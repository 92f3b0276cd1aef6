#include "keystore/base/clock.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace coffer {
namespace {

/// The years that RFC 3339 can write; times outside are shown as the nearest inside.
constexpr std::int64_t kYear0 = -62'167'219'200;
constexpr std::int64_t kEndOfYear9999 = 253'402'300'799;

std::string date_part(std::int64_t unix_seconds) {
  const std::time_t seconds = std::clamp(unix_seconds, kYear0, kEndOfYear9999);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 72> buffer{};
  // Not strftime: its years have as many digits as they need.
  const int length = std::snprintf(buffer.data(), buffer.size(), "%04d-%02d-%02dT%02d:%02d:%02d",
                                   parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                                   parts.tm_hour, parts.tm_min, parts.tm_sec);
  return {buffer.data(), static_cast<std::size_t>(length)};
}

}  // namespace

std::string format_time_us(std::chrono::system_clock::time_point time) {
  const auto micros =
      std::chrono::floor<std::chrono::microseconds>(time).time_since_epoch().count();
  std::int64_t seconds = micros / 1'000'000;
  std::int64_t rest = micros % 1'000'000;
  if (rest < 0) {
    rest += 1'000'000;
    --seconds;
  }
  std::array<char, 16> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06lldZ", static_cast<long long>(rest));
  return date_part(seconds) + fraction.data();
}

std::string format_time(std::int64_t unix_seconds) { return date_part(unix_seconds) + "Z"; }

}  // namespace coffer
