#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "keystore/base/mutex.h"

namespace coffer {

/// Bytes, rate and time left of long work, on one line of stderr that renews itself; silent where
/// stderr is no terminal. Thread-safe.
class Progress {
 public:
  explicit Progress(std::string verb);
  /// Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Adds to what there is to do, and shows it at once.
  void expect(std::uint64_t bytes, std::uint64_t files);
  void add_bytes(std::uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void add_file() { files_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t files() const { return files_.load(std::memory_order_relaxed); }
  [[nodiscard]] double seconds() const;
  /// A line of its own, the progress line kept apart.
  void say(const std::string& line);

 private:
  void loop();
  [[nodiscard]] std::string line() const;
  void show() REQUIRES(mutex_);

  const std::string verb_;
  const bool shown_;
  const std::chrono::steady_clock::time_point began_;
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> files_{0};
  std::atomic<std::uint64_t> expected_bytes_{0};
  std::atomic<std::uint64_t> expected_files_{0};
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace coffer
