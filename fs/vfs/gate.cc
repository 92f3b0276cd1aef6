#include "fs/vfs/gate.h"

#include <thread>

namespace coffer {
namespace {

constexpr std::chrono::milliseconds kLook{1};

/// Threads take the counters in turn.
std::size_t counter_of_this_thread() {
  static std::atomic<std::size_t> next = 0;
  thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

}  // namespace

std::optional<Gate::Pass> Gate::enter(Way way) {
  auto& count =
      counters_[counter_of_this_thread() % kCounters].within[static_cast<std::size_t>(way)];
  // Counted first: who sets the state and then finds nobody knows that nobody comes any more.
  count.fetch_add(1);
  Pass pass(count);
  const State now = state_.load();
  if (now == State::kOpen || (now == State::kClosing && way == Way::kOpened)) return pass;
  kept_out_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

std::int64_t Gate::within(Way way) const {
  std::int64_t sum = 0;
  for (const Counter& counter : counters_)
    sum += counter.within[static_cast<std::size_t>(way)].load();
  return sum;
}

bool Gate::wait_until_empty(Way way, std::chrono::steady_clock::time_point deadline) const {
  while (within(way) != 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

}  // namespace coffer
