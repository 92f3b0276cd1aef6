#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer::fuzz {

/// One decoder under test: eats any bytes, and ends the program if the decoder breaks a promise.
/// Always 0, as libFuzzer asks.
using TargetFunction = int (*)(const std::uint8_t* data, std::size_t size);

struct Target {
  std::string_view name;
  TargetFunction run;
  /// What to begin from, made by the real encoders: so it can't fall behind the format, and stands
  /// for what no file of bytes could (boxes under a key that is drawn anew).
  std::vector<ByteVector> (*seeds)();
  /// Iterations of the others that one of this is worth: those that use files are slower.
  unsigned cost = 1;
};

/// All of them, by name (targets.cc).
std::span<const Target> all_targets();

/// Prints `what` and ends the program unless `condition` holds.
void require(bool condition, std::string_view what);

/// What cannot fail.
template <typename T>
T got(Result<T> result, std::string_view what) {
  require(result.ok(), std::string(what) + ": " + (result ? "" : result.error().message()));
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

/// The code of an error has to be one of those that the decoder's header names.
template <typename T>
void require_code(const Result<T>& result, std::initializer_list<Code> documented,
                  std::string_view what) {
  if (result.ok()) return;
  bool known = false;
  for (const Code code : documented) known = known || result.error().code == code;
  require(known, std::string(what) + " was refused with " +
                     std::string(to_string(result.error().code)) + ": " + result.error().message());
}

/// The input, taken from its front. Past the end it is zeros.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  template <std::unsigned_integral T>
  T number() {
    std::uint8_t raw[sizeof(T)] = {};
    for (std::uint8_t& byte : raw) {
      if (rest_.empty()) break;
      byte = rest_.front();
      rest_ = rest_.subspan(1);
    }
    return load_le<T>(raw, 0);
  }
  std::uint8_t byte() { return number<std::uint8_t>(); }
  /// 0 … limit - 1.
  std::size_t below(std::size_t limit) { return number<std::uint32_t>() % limit; }
  Bytes take(std::size_t length) {
    const Bytes taken = rest_.first(std::min(length, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  Bytes rest() { return take(rest_.size()); }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  Bytes rest_;
};

/// `original`, altered as the input says: bits, bytes, length, parts moved or taken from `other`.
/// For what is authenticated, and would never be hit by chance.
ByteVector altered(ByteVector original, Input& input, Bytes other = {});

/// A directory for what can only be read from a file, in memory where the system has such a place;
/// gone with the program.
const std::string& scratch_directory();
/// A directory of that one, made when it is first asked for.
std::string scratch_directory(const std::string& name);
/// Makes `path` hold these bytes and no others, mode 0600, without waiting for a disk.
void put_file(const std::string& path, Bytes content);

}  // namespace coffer::fuzz
