#include "mount-tools/progress.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "keystore/cli/values.h"

namespace coffer {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(250);
constexpr const char* kClearLine = "\r\033[K";

std::string clock_text(std::uint64_t seconds) {
  std::array<char, 32> text{};
  if (seconds >= 3600) {
    std::snprintf(text.data(), text.size(), "%u:%02u:%02u", static_cast<unsigned>(seconds / 3600),
                  static_cast<unsigned>(seconds / 60 % 60), static_cast<unsigned>(seconds % 60));
  } else {
    std::snprintf(text.data(), text.size(), "%u:%02u", static_cast<unsigned>(seconds / 60),
                  static_cast<unsigned>(seconds % 60));
  }
  return text.data();
}

}  // namespace

Progress::Progress(std::string verb)
    : verb_(std::move(verb)),
      shown_(::isatty(STDERR_FILENO) == 1),
      began_(std::chrono::steady_clock::now()) {
  if (shown_) thread_ = std::thread([this] { loop(); });
}

Progress::~Progress() {
  if (!shown_) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  std::fputs(kClearLine, stderr);
}

void Progress::expect(std::uint64_t bytes, std::uint64_t files) {
  expected_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  expected_files_.fetch_add(files, std::memory_order_relaxed);
  if (!shown_) return;
  MutexLock lock(mutex_);
  show();
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
}

void Progress::say(const std::string& text) {
  MutexLock lock(mutex_);
  std::fprintf(stderr, "%s%s\n", shown_ ? kClearLine : "", text.c_str());
}

std::string Progress::line() const {
  const std::uint64_t done = bytes();
  const std::uint64_t expected = expected_bytes_.load(std::memory_order_relaxed);
  const double rate = static_cast<double>(done) / std::max(seconds(), 0.001);
  std::string text = verb_ + " " + format_bytes(done) + " of " + format_bytes(expected) + ", " +
                     std::to_string(files()) + "/" +
                     std::to_string(expected_files_.load(std::memory_order_relaxed)) + " files, " +
                     format_bytes(static_cast<std::uint64_t>(rate)) + "/s";
  if (expected > done && rate >= 1) {
    text += ", " +
            clock_text(static_cast<std::uint64_t>(static_cast<double>(expected - done) / rate)) +
            " left";
  }
  return text;
}

void Progress::loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(mutex_, kInterval);
    if (!stopping_) show();
  }
}

void Progress::show() { std::fprintf(stderr, "%s%s", kClearLine, line().c_str()); }

}  // namespace coffer
