#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace coffer {

/// What every operation on a mount passes, so that all can be kept out, and the end of those within
/// be waited for. Passing takes no lock, and no two threads meet at it. Thread-safe.
class Gate {
 public:
  /// What an operation needs: to find, open or change something; or what is open already.
  enum class Way { kNew, kOpened };
  enum class State {
    kOpen,
    kClosing,  ///< for kOpened alone
    kShut,
  };

  /// An operation that is let in, as long as it lives.
  class Pass {
   public:
    explicit Pass(std::atomic<std::int64_t>& count) : count_(&count) {}
    Pass(Pass&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (count_ != nullptr) count_->fetch_sub(1, std::memory_order_release);
    }

   private:
    std::atomic<std::int64_t>* count_;
  };

  /// Nothing if it is to stay out, which is counted.
  std::optional<Pass> enter(Way way);
  /// Whoever enters from here on is let in or not as `state` says.
  void set(State state) {
    if (state_.exchange(state) == State::kOpen) kept_out_ = 0;
  }
  [[nodiscard]] State state() const { return state_.load(); }

  /// True once nobody is within who came this way; false if somebody is at `deadline` still.
  [[nodiscard]] bool wait_until_empty(Way way,
                                      std::chrono::steady_clock::time_point deadline) const;
  /// How many stayed out since it was open last.
  [[nodiscard]] std::uint64_t kept_out() const { return kept_out_.load(); }

 private:
  static constexpr std::size_t kCounters = 16;  // one a thread, as long as there are so few
  struct alignas(64) Counter {
    std::array<std::atomic<std::int64_t>, 2> within{};
  };

  [[nodiscard]] std::int64_t within(Way way) const;

  std::atomic<State> state_ = State::kOpen;
  std::atomic<std::uint64_t> kept_out_ = 0;
  std::array<Counter, kCounters> counters_;
};

}  // namespace coffer
