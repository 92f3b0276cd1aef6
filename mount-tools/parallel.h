#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace coffer {

/// Calls `work` with every index below `count`, from as many threads as there are processors (at
/// most 16). `work` returns false to have no more begun.
inline void for_each_in_parallel(std::size_t count, const std::function<bool(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> going{true};
  const auto worker = [&] {
    while (going.load(std::memory_order_relaxed)) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) return;
      if (!work(index)) going.store(false, std::memory_order_relaxed);
    }
  };
  const auto threads =
      std::min<std::size_t>({count, 16, std::max(1U, std::thread::hardware_concurrency())});
  std::vector<std::thread> pool;
  for (std::size_t i = 1; i < threads; ++i) pool.emplace_back(worker);
  worker();
  for (std::thread& thread : pool) thread.join();
}

}  // namespace coffer
