#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "keystore/base/bytes.h"

namespace coffer {

/// Sixteen opaque bytes; a distinct type for each Tag, so that a directory's id is never taken for
/// a file's.
template <typename Tag>
struct Id128 {
  std::array<std::uint8_t, 16> bytes{};

  static Id128 from(Bytes source) {
    Id128 id;
    std::copy_n(source.begin(), id.bytes.size(), id.bytes.begin());
    return id;
  }
  [[nodiscard]] Bytes view() const { return bytes; }
  [[nodiscard]] std::string hex() const { return to_hex(bytes); }
  auto operator<=>(const Id128&) const = default;
};

/// A number of one kind only; `value` is the one way out.
template <typename Tag, typename Number>
struct StrongNumber {
  Number value{};
  auto operator<=>(const StrongNumber&) const = default;
};

using StoreId = Id128<struct StoreIdTag>;
using FileId = Id128<struct FileIdTag>;
using DirId = Id128<struct DirIdTag>;
/// Of one audit log on one node; drawn when the log is begun.
using LogId = Id128<struct LogIdTag>;
using ScopeId = StrongNumber<struct ScopeIdTag, std::uint32_t>;
using KeyVersion = StrongNumber<struct KeyVersionTag, std::uint32_t>;
using GrantId = StrongNumber<struct GrantIdTag, std::int64_t>;

/// The scope of the whole store, `/`.
inline constexpr ScopeId kRootScope{1};

}  // namespace coffer

template <typename Tag>
struct std::hash<coffer::Id128<Tag>> {
  std::size_t operator()(const coffer::Id128<Tag>& id) const noexcept {
    // The tail of every id is random (a file id begins with its time).
    return coffer::load_le<std::uint64_t>(id.bytes, 8);
  }
};

template <typename Tag, typename Number>
struct std::hash<coffer::StrongNumber<Tag, Number>> {
  std::size_t operator()(const coffer::StrongNumber<Tag, Number>& number) const noexcept {
    return std::hash<Number>{}(number.value);
  }
};
