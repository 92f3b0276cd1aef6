#pragma once

#include <algorithm>
#include <array>

#include "fs/format/header.h"

namespace coffer {

inline constexpr std::size_t kEntrySize = 32;

/// What a leaf holds of one chunk: nonce and tag of its ciphertext, or nothing if it is a hole
/// (fs/FORMAT.md, 3.4).
struct LeafEntry {
  std::array<std::uint8_t, 12> nonce{};
  std::array<std::uint8_t, 16> tag{};
  bool is_hole = true;
};

/// kCorrupt for a state that version 1 does not know, or a hole that is not all zeros. `entry` is
/// 32 bytes.
inline Result<LeafEntry> decode_leaf_entry(Bytes entry) {
  constexpr std::uint32_t kData = 1;
  LeafEntry decoded;
  const auto state = load_le<std::uint32_t>(entry, 28);
  if (state == kData) {
    std::copy_n(entry.begin(), 12, decoded.nonce.begin());
    std::copy_n(entry.begin() + 12, 16, decoded.tag.begin());
    decoded.is_hole = false;
    return decoded;
  }
  if (!all_zero(entry)) return Error{Code::kCorrupt, 0, "leaf entry of an unknown state"};
  return decoded;
}

inline void encode_leaf_entry(const LeafEntry& decoded, MutableBytes entry) {
  std::fill(entry.begin(), entry.end(), std::uint8_t{0});
  if (decoded.is_hole) return;
  std::copy(decoded.nonce.begin(), decoded.nonce.end(), entry.begin());
  std::copy(decoded.tag.begin(), decoded.tag.end(), entry.begin() + 12);
  store_le(entry, 28, std::uint32_t{1});
}

/// Entry `slot` of a node.
inline Bytes node_entry(const Block& node, unsigned slot) {
  return Bytes(node).subspan(slot * kEntrySize, kEntrySize);
}
inline MutableBytes node_entry(Block& node, unsigned slot) {
  return MutableBytes(node).subspan(slot * kEntrySize, kEntrySize);
}

}  // namespace coffer
