#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/support/fs_random.h"

namespace coffer::testing {

/// The benchmark has failed unless `held`. For what surrounds its loop: it is not timed there.
inline void require(benchmark::State& state, bool held, const char* what) {
  if (!held && !state.error_occurred()) state.SkipWithError(what);
}

/// Values that are taken in turn, over and over: what a benchmark works on.
template <typename T>
class Rounds {
 public:
  explicit Rounds(std::vector<T> values) : values_(std::move(values)) {}

  const T& next() { return values_[at_++ % values_.size()]; }
  /// What `next` gave last.
  [[nodiscard]] const T& last() const { return values_[(at_ - 1) % values_.size()]; }
  [[nodiscard]] const std::vector<T>& all() const { return values_; }

 private:
  std::vector<T> values_;
  std::size_t at_ = 0;
};

/// `count` numbers below `limit`.
inline Rounds<std::uint64_t> random_numbers(std::uint64_t limit, std::size_t count = 1024) {
  Chooser choose(limit);
  std::vector<std::uint64_t> numbers(count);
  for (std::uint64_t& number : numbers) number = choose.below(limit);
  return Rounds(std::move(numbers));
}

}  // namespace coffer::testing
