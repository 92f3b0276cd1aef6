#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"

namespace coffer {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;
using ByteVector = std::vector<std::uint8_t>;

/// Little-endian loads and stores at a byte offset that the caller has checked.
template <std::unsigned_integral T>
T load_le(Bytes from, std::size_t offset) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(from[offset + i]) << (8 * i)));
  }
  return value;
}

template <std::unsigned_integral T>
void store_le(MutableBytes to, std::size_t offset, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    to[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

/// Appends to a growing byte string: authenticated strings, AADs, small files.
class ByteWriter {
 public:
  ByteWriter& bytes(Bytes from) {
    out_.insert(out_.end(), from.begin(), from.end());
    return *this;
  }
  ByteWriter& text(std::string_view from) {
    out_.insert(out_.end(), from.begin(), from.end());
    return *this;
  }
  ByteWriter& zeros(std::size_t count) {
    out_.insert(out_.end(), count, 0);
    return *this;
  }
  template <std::unsigned_integral T>
  ByteWriter& le(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      out_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
    return *this;
  }
  [[nodiscard]] const ByteVector& data() const { return out_; }
  ByteVector take() { return std::move(out_); }

 private:
  ByteVector out_;
};

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool all_zero(Bytes bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Not constant time: for public values only (secrets compare in crypto/secret_bytes.h).
inline bool equal(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Lower-case hex. `from_hex` takes either case and refuses odd lengths and other characters
/// (kInvalid).
std::string to_hex(Bytes bytes);
Result<ByteVector> from_hex(std::string_view text);

/// RFC 4648 section 5, without padding. Decoding refuses padding, other characters and stray bits
/// (kInvalid), so that each byte string has exactly one text.
std::string to_base64url(Bytes bytes);
Result<ByteVector> from_base64url(std::string_view text);

}  // namespace coffer
