#pragma once

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

namespace coffer::testing {

/// The threads of this process, the one included that a sanitizer begins beside the first.
inline std::size_t count_threads() {
  std::thread([] {}).join();
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

}  // namespace coffer::testing
