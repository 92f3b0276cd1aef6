#include "keystore/base/clock.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace coffer {
namespace {

std::string date_part(std::time_t seconds) {
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> buffer{};
  const std::size_t length =
      std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  return {buffer.data(), length};
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
