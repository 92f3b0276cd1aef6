#pragma once

#include <cstdint>

namespace coffer {

/// Where facts of a process come from beyond the request that it makes. Each costs something to
/// read; the values are not stored anywhere.
enum class Source : std::uint16_t {
  kGroups = 1,           ///< its supplementary groups
  kUserName = 2,         ///< the user database: how its uid is called
  kGroupNames = 4,       ///< the group database: how its groups are called
  kExecutable = 8,       ///< where the file lies that it executes
  kExecutableHash = 16,  ///< what that file contains
  kCgroup = 32,          ///< its control groups: unit, job, container, pod
  kNamespaces = 64,      ///< whether it sees the mounts and processes that the daemon sees
  kLabel = 128,          ///< its security label
  kHost = 256,           ///< the machine's name and id
};

/// A set of sources.
struct Sources {
  std::uint16_t bits = 0;

  template <typename... Each>
  static constexpr Sources of(Each... each) {
    return {static_cast<std::uint16_t>((0U | ... | static_cast<unsigned>(each)))};
  }
  static constexpr Sources all() { return {511}; }
  constexpr void add(Sources more) { bits = static_cast<std::uint16_t>(bits | more.bits); }
  constexpr void remove(Source one) {
    bits = static_cast<std::uint16_t>(bits & ~static_cast<unsigned>(one));
  }
  [[nodiscard]] constexpr bool contains(Source one) const {
    return (bits & static_cast<unsigned>(one)) != 0;
  }
  /// True if all of `others` are in it.
  [[nodiscard]] constexpr bool cover(Sources others) const {
    return (others.bits & ~static_cast<unsigned>(bits)) == 0;
  }
  bool operator==(const Sources&) const = default;
};

}  // namespace coffer
