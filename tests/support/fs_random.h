#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "keystore/base/bytes.h"

namespace coffer::testing {

/// Random choices of a test, the same in every run of one seed; the test names the seed by
/// SCOPED_TRACE.
class Chooser {
 public:
  explicit Chooser(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t next() { return engine_(); }
  /// 0 … `limit` - 1.
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
  /// `first` … `last`.
  std::uint64_t between(std::uint64_t first, std::uint64_t last) {
    return first + below(last - first + 1);
  }
  bool one_in(std::uint64_t count) { return below(count) == 0; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(engine_()); }

  void fill(MutableBytes out) {
    std::size_t at = 0;
    for (; at + 8 <= out.size(); at += 8) store_le(out, at, engine_());
    for (; at < out.size(); ++at) out[at] = byte();
  }
  ByteVector bytes(std::size_t count) {
    ByteVector out(count);
    fill(out);
    return out;
  }
  template <typename Id>
  Id id() {
    Id id;
    fill(id.bytes);
    return id;
  }

 private:
  std::mt19937_64 engine_;
};

inline std::string seed_trace(std::uint64_t seed) { return "seed " + std::to_string(seed); }

}  // namespace coffer::testing
