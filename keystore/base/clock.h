#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace coffer {

using UnixSeconds = std::chrono::sys_seconds;

/// The time of day, as far as grants, key lifetimes and logs are concerned. The real clock follows
/// the system's, plus an offset that tests move; nothing else in the program asks the system for
/// the date. Thread-safe.
class Clock {
 public:
  [[nodiscard]] std::chrono::system_clock::time_point now() const {
    return std::chrono::system_clock::now() + std::chrono::seconds(offset_s_.load());
  }
  [[nodiscard]] std::int64_t unix_seconds() const {
    return std::chrono::floor<std::chrono::seconds>(now()).time_since_epoch().count();
  }
  /// For tests only.
  void advance(std::chrono::seconds by) { offset_s_ += by.count(); }

 private:
  std::atomic<std::int64_t> offset_s_{0};
};

/// RFC 3339 in UTC: with microseconds for the audit log, with seconds for listings. Times outside
/// its years 0 to 9999 read as the first or last second of those.
std::string format_time_us(std::chrono::system_clock::time_point time);
std::string format_time(std::int64_t unix_seconds);

}  // namespace coffer
