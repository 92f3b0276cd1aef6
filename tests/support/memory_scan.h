#pragma once

#include "keystore/base/bytes.h"

namespace coffer::testing {

/// A secret to look for, kept under a mask so that the looking does not find itself.
class HiddenNeedle {
 public:
  explicit HiddenNeedle(Bytes secret);
  [[nodiscard]] std::size_t size() const { return masked_.size(); }
  [[nodiscard]] bool stands_at(const std::uint8_t* place) const;
  [[nodiscard]] std::uint8_t first() const;

 private:
  ByteVector masked_;
};

/// How often the secret stands in this process's writable memory outside locked pages. While there
/// is one thread; not under the sanitizers.
std::size_t count_in_ordinary_memory(const HiddenNeedle& needle);

}  // namespace coffer::testing
