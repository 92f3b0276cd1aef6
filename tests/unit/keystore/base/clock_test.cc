#include "keystore/base/clock.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <limits>

namespace coffer {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

system_clock::time_point at_us(std::int64_t micros) {
  return system_clock::time_point(microseconds(micros));
}

TEST(FormatTime, KnownInstants) {
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(-1), "1969-12-31T23:59:59Z");
  EXPECT_EQ(format_time(951'782'400), "2000-02-29T00:00:00Z");
  EXPECT_EQ(format_time(1'709'251'199), "2024-02-29T23:59:59Z");
  EXPECT_EQ(format_time(1'709'251'200), "2024-03-01T00:00:00Z");
  EXPECT_EQ(format_time(4'107'542'400), "2100-03-01T00:00:00Z");  // 2100 is no leap year
  EXPECT_EQ(format_time(4'294'967'296), "2106-02-07T06:28:16Z");
  EXPECT_EQ(format_time(253'402'300'799), "9999-12-31T23:59:59Z");
}

TEST(FormatTime, StaysRfc3339OutsideItsYears) {
  // Four digits of year are all that RFC 3339 has; a grant's end that lies beyond is never shown as
  // a date long past.
  EXPECT_EQ(format_time(-59'000'000'000), "0100-05-13T15:06:40Z");
  EXPECT_EQ(format_time(-62'167'219'200), "0000-01-01T00:00:00Z");
  EXPECT_EQ(format_time(-62'167'219'201), "0000-01-01T00:00:00Z");
  EXPECT_EQ(format_time(253'402'300'800), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(std::numeric_limits<std::int64_t>::max()), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(std::numeric_limits<std::int64_t>::min()), "0000-01-01T00:00:00Z");
}

TEST(FormatTime, IgnoresTheTimeZone) {
  ASSERT_EQ(::setenv("TZ", "America/St_Johns", 1), 0);
  ::tzset();
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00Z");
  ::unsetenv("TZ");
  ::tzset();
}

TEST(FormatTimeUs, HasSixDigits) {
  EXPECT_EQ(format_time_us(at_us(0)), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_time_us(at_us(1)), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(format_time_us(at_us(1'709'164'800'123'456)), "2024-02-29T00:00:00.123456Z");
  EXPECT_EQ(format_time_us(at_us(1'709'164'800'999'999)), "2024-02-29T00:00:00.999999Z");
}

TEST(FormatTimeUs, BeforeTheEpochCountsForward) {
  EXPECT_EQ(format_time_us(at_us(-1)), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(format_time_us(at_us(-1'000'000)), "1969-12-31T23:59:59.000000Z");
  EXPECT_EQ(format_time_us(at_us(-1'000'001)), "1969-12-31T23:59:58.999999Z");
}

TEST(FormatTimeUs, RoundsDown) {
  EXPECT_EQ(format_time_us(system_clock::time_point(nanoseconds(1'999))),
            "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(format_time_us(system_clock::time_point(nanoseconds(-1))),
            "1969-12-31T23:59:59.999999Z");
}

TEST(FormatTimeUs, SortsAsTextAsItDoesInTime) {
  std::string before = format_time_us(at_us(-2'000'000));
  for (std::int64_t micros = -1'900'000; micros < 2'000'000; micros += 99'999) {
    const std::string now = format_time_us(at_us(micros));
    EXPECT_LT(before, now);
    before = now;
  }
}

TEST(Clock, FollowsTheSystemAndTheOffset) {
  // A century each way: no adjustment of the machine's clock while the test runs amounts to one.
  constexpr seconds kCentury{3'155'760'000};
  Clock clock;
  EXPECT_LT(std::chrono::abs(clock.now() - system_clock::now()), kCentury / 10);
  clock.advance(2 * kCentury);
  clock.advance(-kCentury);
  EXPECT_GT(clock.now(), system_clock::now() + kCentury * 9 / 10);
  EXPECT_LT(clock.now(), system_clock::now() + kCentury * 11 / 10);
  const auto by_seconds = system_clock::time_point(seconds(clock.unix_seconds()));
  EXPECT_LT(std::chrono::abs(clock.now() - by_seconds), kCentury / 10);
}

}  // namespace
}  // namespace coffer
