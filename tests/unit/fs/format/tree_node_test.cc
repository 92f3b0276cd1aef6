// Entries of tree nodes (fs/FORMAT.md 3.4).

#include "fs/format/tree_node.h"

#include <gtest/gtest.h>

#include "tests/support/fs_random.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::seed_trace;
using Entry = std::array<std::uint8_t, 32>;

TEST(TreeNode, AnEntryIsNonceTagState) {
  LeafEntry entry;
  entry.is_hole = false;
  Entry expected{};
  for (std::size_t i = 0; i < 12; ++i)
    expected[i] = entry.nonce[i] = static_cast<std::uint8_t>(0x10 + i);
  for (std::size_t i = 0; i < 16; ++i)
    expected[12 + i] = entry.tag[i] = static_cast<std::uint8_t>(0x80 + i);
  expected[28] = 1;
  Entry bytes;
  bytes.fill(0xee);
  encode_leaf_entry(entry, bytes);
  EXPECT_EQ(to_hex(bytes), to_hex(expected));
  const auto decoded = decode_leaf_entry(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_FALSE(decoded->is_hole);
  EXPECT_EQ(decoded->nonce, entry.nonce);
  EXPECT_EQ(decoded->tag, entry.tag);
}

TEST(TreeNode, AHoleIsZeros) {
  LeafEntry entry;
  entry.nonce.fill(7);  // of no account
  Entry bytes;
  bytes.fill(0xee);
  encode_leaf_entry(entry, bytes);
  EXPECT_TRUE(all_zero(bytes));
  const auto decoded = decode_leaf_entry(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(decoded->is_hole);
}

TEST(TreeNode, AHoleWithAnythingInItIsRefused) {
  for (std::size_t at = 0; at < 28; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      Entry bytes{};
      bytes[at] = static_cast<std::uint8_t>(1U << bit);
      ASSERT_EQ(decode_leaf_entry(bytes).error().code, Code::kCorrupt) << "byte " << at;
    }
  }
}

TEST(TreeNode, OtherStatesAreRefused) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    for (const std::uint32_t state : {std::uint32_t{1} << bit, (std::uint32_t{1} << bit) ^ 1U}) {
      if (state <= 1) continue;
      for (const unsigned filling : {0U, 0x5aU}) {
        Entry bytes;
        bytes.fill(static_cast<std::uint8_t>(filling));
        store_le(bytes, 28, state);
        ASSERT_EQ(decode_leaf_entry(bytes).error().code, Code::kCorrupt) << "state " << state;
      }
    }
  }
}

TEST(TreeNode, ANonceAndTagOfZerosAreDataAllTheSame) {
  Entry bytes{};
  bytes[28] = 1;
  const auto decoded = decode_leaf_entry(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_FALSE(decoded->is_hole);
}

TEST(TreeNode, WhateverIsAcceptedEncodesToTheSameBytes) {
  constexpr std::uint64_t kSeed = 41;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    Entry bytes{};
    if (!choose.one_in(8)) choose.fill(bytes);
    store_le(bytes, 28, static_cast<std::uint32_t>(choose.below(3)));
    if (choose.one_in(16))
      bytes[choose.below(32)] ^= static_cast<std::uint8_t>(1U << choose.below(8));
    const auto decoded = decode_leaf_entry(bytes);
    if (!decoded) continue;
    ++accepted;
    Entry again;
    encode_leaf_entry(*decoded, again);
    ASSERT_EQ(to_hex(again), to_hex(bytes));
  }
  EXPECT_GT(accepted, 10'000);
  EXPECT_LT(accepted, 190'000);
}

TEST(TreeNode, EntriesLieOneBehindTheOther) {
  Block node;
  for (std::size_t i = 0; i < node.size(); ++i) node[i] = static_cast<std::uint8_t>(i / 32);
  for (unsigned slot = 0; slot < kFanOut; ++slot) {
    const Bytes entry = node_entry(std::as_const(node), slot);
    ASSERT_EQ(entry.data(), node.data() + slot * 32);
    ASSERT_EQ(entry.size(), 32U);
    ASSERT_EQ(entry[0], slot);
    ASSERT_EQ(node_entry(node, slot).data(), entry.data());
  }
}

}  // namespace
}  // namespace coffer
