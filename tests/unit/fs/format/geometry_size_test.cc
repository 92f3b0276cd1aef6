// Sizes: plaintext to backing and back, chunks, leaves and depth.

#include <gtest/gtest.h>

#include <set>

#include "fs/format/geometry.h"
#include "tests/support/fs_random.h"
#include "tests/unit/fs/format/layout_model.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::Layout;
using testing::seed_trace;

constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

class GeometrySizes : public ::testing::TestWithParam<unsigned> {
 protected:
  /// Sizes next to the end of everything that has one.
  [[nodiscard]] std::vector<std::uint64_t> edges() const {
    std::set<std::uint64_t> sizes = {0, 1, 2, 16 * kTiB, kMaxPlainSize};
    for (const std::uint64_t chunks :
         {1ULL, 2ULL, 127ULL, 128ULL, 129ULL, 255ULL, 256ULL, 16'383ULL, 16'384ULL, 16'385ULL}) {
      sizes.insert(chunks * chunk_size_);
    }
    for (const std::uint64_t leaves : {1ULL, 2ULL, 127ULL, 128ULL, 129ULL, 16'383ULL, 16'384ULL,
                                       16'385ULL, 2'097'152ULL, 268'435'456ULL}) {
      sizes.insert(leaves * 128 * chunk_size_);
    }
    std::set<std::uint64_t> all;
    for (const std::uint64_t size : sizes) {
      for (const std::uint64_t edge : {size - chunk_size_, size - 1, size, size + 1, size + 2,
                                       size + chunk_size_ - 1, size + chunk_size_}) {
        if (edge <= kMaxPlainSize) all.insert(edge);
      }
    }
    return {all.begin(), all.end()};
  }

  [[nodiscard]] std::vector<std::uint64_t> random_sizes(int count, std::uint64_t seed) const {
    Chooser choose(seed);
    std::vector<std::uint64_t> sizes;
    for (int i = 0; i < count; ++i) {
      sizes.push_back(choose.below(std::uint64_t{1} << choose.between(1, 50)) + choose.below(2));
    }
    return sizes;
  }

  Geometry geometry_{GetParam()};
  std::uint64_t chunk_size_ = std::uint64_t{1} << GetParam();
};

INSTANTIATE_TEST_SUITE_P(EveryChunkSize, GeometrySizes,
                         ::testing::Range(kMinChunkLog2, kMaxChunkLog2 + 1),
                         ::testing::PrintToStringParamName());

TEST_P(GeometrySizes, BackingSizeInverts) {
  const std::uint64_t seed = 11 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  for (const auto& sizes : {edges(), random_sizes(50'000, seed)}) {
    for (const std::uint64_t size : sizes) {
      const auto back = geometry_.plain_size(geometry_.backing_size(size));
      ASSERT_TRUE(back.has_value()) << size;
      ASSERT_EQ(*back, size);
    }
  }
}

TEST_P(GeometrySizes, BackingSizeGrowsStrictly) {
  const std::uint64_t seed = 110 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  auto sizes = edges();
  for (const std::uint64_t size : random_sizes(20'000, seed)) sizes.push_back(size);
  std::sort(sizes.begin(), sizes.end());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < kMaxPlainSize) {
      ASSERT_LT(geometry_.backing_size(sizes[i]), geometry_.backing_size(sizes[i] + 1)) << sizes[i];
    }
    if (i > 0 && sizes[i - 1] < sizes[i]) {
      ASSERT_LT(geometry_.backing_size(sizes[i - 1]), geometry_.backing_size(sizes[i]));
    }
  }
}

TEST_P(GeometrySizes, BackingEndsWithTheLastByteOfTheLastChunk) {
  EXPECT_EQ(geometry_.backing_size(0), 8192U);
  const std::uint64_t seed = 120 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  for (const auto& sizes : {edges(), random_sizes(5'000, seed)}) {
    for (const std::uint64_t size : sizes) {
      if (size == 0) continue;
      const std::uint64_t chunk = (size - 1) / chunk_size_;
      const std::uint64_t in_chunk = (size - 1) % chunk_size_;
      ASSERT_EQ(geometry_.backing_size(size), geometry_.chunk_offset(chunk) + in_chunk + 1) << size;
    }
  }
}

TEST_P(GeometrySizes, NodesOfAFileLieWithinIt) {
  const std::uint64_t seed = 130 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  for (const auto& sizes : {edges(), random_sizes(2'000, seed)}) {
    for (const std::uint64_t size : sizes) {
      for (unsigned level = 0; level <= geometry_.depth(size); ++level) {
        const std::uint64_t nodes = geometry_.node_count(level, size);
        for (const std::uint64_t index : {std::uint64_t{0}, nodes / 2, nodes - 1}) {
          if (nodes == 0) continue;
          ASSERT_LE(geometry_.node_offset({level, index}) + 4096, geometry_.backing_size(size))
              << "node " << index << " of level " << level << ", size " << size;
        }
      }
    }
  }
}

TEST_P(GeometrySizes, DepthAndNodeCountsFollowFromTheLeaves) {
  const std::uint64_t seed = 140 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  for (const auto& sizes : {edges(), random_sizes(5'000, seed)}) {
    for (const std::uint64_t size : sizes) {
      SCOPED_TRACE(size);
      const std::uint64_t chunks = size / chunk_size_ + (size % chunk_size_ != 0 ? 1 : 0);
      ASSERT_EQ(geometry_.chunk_count(size), chunks);
      std::uint64_t nodes = chunks / 128 + (chunks % 128 != 0 ? 1 : 0);
      ASSERT_EQ(geometry_.leaf_count(size), nodes);
      unsigned level = 0;
      while (true) {
        ASSERT_EQ(geometry_.node_count(level, size), nodes) << "level " << level;
        if (nodes <= 1) break;
        nodes = (nodes + 127) / 128;
        ++level;
      }
      ASSERT_EQ(geometry_.depth(size), level);
      ASSERT_LE(level, kMaxDepth);
      ASSERT_EQ(geometry_.node_count(level + 1, size), 0U);
    }
  }
}

TEST_P(GeometrySizes, ChunkLengthsAddUp) {
  for (const std::uint64_t size : edges()) {
    const std::uint64_t chunks = geometry_.chunk_count(size);
    ASSERT_EQ(geometry_.chunk_length(chunks, size), 0U) << size;
    ASSERT_EQ(geometry_.chunk_length(chunks + 5, size), 0U) << size;
    if (chunks == 0) continue;
    const std::uint64_t last = geometry_.chunk_length(chunks - 1, size);
    ASSERT_EQ((chunks - 1) * chunk_size_ + last, size);
    ASSERT_GE(last, 1U);
    ASSERT_LE(last, chunk_size_);
    if (chunks < 2) continue;
    ASSERT_EQ(geometry_.chunk_length(chunks - 2, size), chunk_size_) << size;
  }
}

TEST_P(GeometrySizes, OffsetsAndChunks) {
  EXPECT_EQ(geometry_.chunk_size(), chunk_size_);
  EXPECT_EQ(geometry_.chunk_log2(), GetParam());
  for (const std::uint64_t chunk : {0ULL, 1ULL, 127ULL, 1'000'003ULL}) {
    EXPECT_EQ(geometry_.chunk_start(chunk), chunk * chunk_size_);
    EXPECT_EQ(geometry_.chunk_of(chunk * chunk_size_), chunk);
    EXPECT_EQ(geometry_.chunk_of((chunk + 1) * chunk_size_ - 1), chunk);
  }
}

TEST_P(GeometrySizes, BackingSizesPastTheLargestFileAreNone) {
  const std::uint64_t largest = geometry_.backing_size(kMaxPlainSize);
  EXPECT_EQ(geometry_.plain_size(largest), kMaxPlainSize);
  for (const std::uint64_t size : {largest + 1, largest + 4096, std::uint64_t{1} << 62,
                                   std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    EXPECT_FALSE(geometry_.plain_size(size).has_value()) << size;
  }
}

/// What the enumerated layout says of a backing size: the plaintext size, or -1.
class SizeModel {
 public:
  SizeModel(std::uint64_t chunk_size, std::uint64_t leaves)
      : group_(128 * chunk_size), layout_(chunk_size, leaves) {}

  [[nodiscard]] std::int64_t plain_size(std::uint64_t backing_size) const {
    if (backing_size == 8192) return 0;
    for (std::size_t leaf = 0; leaf < layout_.leaf_offsets.size(); ++leaf) {
      const std::uint64_t data = layout_.leaf_offsets[leaf] + 4096;
      if (backing_size > data && backing_size <= data + group_) {
        return static_cast<std::int64_t>(leaf * group_ + backing_size - data);
      }
    }
    return -1;
  }
  [[nodiscard]] std::uint64_t leaf_offset(std::uint64_t leaf) const {
    return layout_.leaf_offsets[leaf];
  }

 private:
  std::uint64_t group_;
  Layout layout_;
};

void expect_same(const Geometry& geometry, const SizeModel& model, std::uint64_t backing_size) {
  const auto actual = geometry.plain_size(backing_size);
  const std::int64_t expected = model.plain_size(backing_size);
  ASSERT_EQ(actual.has_value(), expected >= 0) << "backing size " << backing_size;
  if (expected >= 0) {
    ASSERT_EQ(*actual, static_cast<std::uint64_t>(expected)) << "backing size " << backing_size;
    ASSERT_EQ(geometry.backing_size(*actual), backing_size);
  }
}

TEST(GeometrySize, EveryBackingSizeOfTheFirstGroups) {
  const Geometry geometry(12);
  const SizeModel model(4096, 5);
  for (std::uint64_t size = 0; size <= model.leaf_offset(4) + 4096; ++size) {
    expect_same(geometry, model, size);
    if (HasFatalFailure()) return;
  }
}

TEST_P(GeometrySizes, EveryBackingSizeAroundTheNodesBeforeALeaf) {
  const SizeModel model(chunk_size_, 260);
  for (const std::uint64_t leaf : {1U, 2U, 127U, 128U, 129U, 256U}) {
    const std::uint64_t at = model.leaf_offset(leaf);
    for (std::uint64_t size = at - 3 * 4096; size <= at + 2 * 4096; ++size) {
      const auto actual = geometry_.plain_size(size);
      // Leaf by leaf would be slow: the model is asked where it changes, and each 37th time.
      if (size % 4096 > 1 && size % 37 != 0) {
        ASSERT_TRUE(!actual.has_value() || geometry_.backing_size(*actual) == size) << size;
        continue;
      }
      expect_same(geometry_, model, size);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(GeometrySizes, WhatIsNoImageOfASizeIsRefusedAtEveryHeight) {
  // The end of a group, the nodes behind it, and the leaf: none of these can be a file's end.
  const std::uint64_t last_leaf = geometry_.leaf_count(kMaxPlainSize) - 1;
  for (const std::uint64_t leaf : {1ULL, 2ULL, 128ULL, 16'384ULL, 2'097'152ULL, 268'435'456ULL}) {
    if (leaf > last_leaf) continue;
    const std::uint64_t group_end = geometry_.chunk_offset(leaf * 128 - 1) + chunk_size_;
    const std::uint64_t data = geometry_.chunk_offset(leaf * 128);
    EXPECT_EQ(geometry_.plain_size(group_end), leaf * 128 * chunk_size_);
    EXPECT_EQ(geometry_.plain_size(data + 1), leaf * 128 * chunk_size_ + 1);
    for (std::uint64_t size = group_end + 1; size <= data; size += 61) {
      ASSERT_FALSE(geometry_.plain_size(size).has_value()) << size;
    }
    ASSERT_FALSE(geometry_.plain_size(group_end + 1).has_value());
    ASSERT_FALSE(geometry_.plain_size(data).has_value());
  }
}

}  // namespace
}  // namespace coffer
