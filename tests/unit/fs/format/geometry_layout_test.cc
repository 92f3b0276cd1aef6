// Where things lie: Geometry against the words of fs/FORMAT.md 3.2.

#include <gtest/gtest.h>

#include <algorithm>

#include "fs/format/geometry.h"
#include "tests/support/fs_random.h"
#include "tests/unit/fs/format/layout_model.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::Layout;
using testing::seed_trace;

class GeometryLayout : public ::testing::TestWithParam<unsigned> {
 protected:
  Geometry geometry_{GetParam()};
  std::uint64_t chunk_size_ = std::uint64_t{1} << GetParam();
};

INSTANTIATE_TEST_SUITE_P(EveryChunkSize, GeometryLayout,
                         ::testing::Range(kMinChunkLog2, kMaxChunkLog2 + 1),
                         ::testing::PrintToStringParamName());

TEST_P(GeometryLayout, NodesAndChunksLieWhereTheFormatPutsThem) {
  // Enough for the first node of levels 1 to 3 and many others of each.
  constexpr std::uint64_t kLeaves = 100'000;
  const Layout layout(chunk_size_, kLeaves);
  ASSERT_EQ(layout.leaf_offsets.size(), kLeaves);
  for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    const std::uint64_t at = layout.leaf_offsets[leaf];
    ASSERT_EQ(geometry_.node_offset({0, leaf}), at) << "leaf " << leaf;
    for (const std::uint64_t in_leaf : {0U, 1U, 63U, 127U}) {
      ASSERT_EQ(geometry_.chunk_offset(leaf * 128 + in_leaf), at + 4096 + in_leaf * chunk_size_)
          << "chunk " << in_leaf << " of leaf " << leaf;
    }
  }
  for (const Layout::Node& node : layout.inner) {
    ASSERT_EQ(geometry_.node_offset({node.level, node.index}), node.offset)
        << "node " << node.index << " of level " << node.level;
  }
}

TEST_P(GeometryLayout, ObjectsNeitherOverlapNorLeaveGaps) {
  constexpr std::uint64_t kLeaves = 20'000;
  struct Extent {
    std::uint64_t offset;
    std::uint64_t length;
  };
  std::vector<Extent> extents;
  const std::uint64_t size = kLeaves * 128 * chunk_size_;
  for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    extents.push_back({geometry_.node_offset({0, leaf}), 4096});
    extents.push_back({geometry_.chunk_offset(leaf * 128), 128 * chunk_size_});
  }
  for (unsigned level = 1; level <= geometry_.depth(size); ++level) {
    for (std::uint64_t index = 0; index < geometry_.node_count(level, size); ++index) {
      extents.push_back({geometry_.node_offset({level, index}), 4096});
    }
  }
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::uint64_t end = 8192;
  for (const Extent& extent : extents) {
    ASSERT_EQ(extent.offset, end);
    end += extent.length;
  }
  EXPECT_EQ(geometry_.backing_size(size), end);
}

/// Inner nodes directly before `leaf`, by the definition of their places.
unsigned nodes_right_before(std::uint64_t leaf) {
  unsigned count = 0;
  std::uint64_t below = 1;  // F^(level - 1)
  for (unsigned level = 1; level <= kMaxDepth; ++level, below *= 128) {
    const bool first_of_level = leaf == below;
    const bool own_first = leaf > 0 && leaf % (below * 128) == 0;
    if (first_of_level || own_first) ++count;
  }
  return count;
}

TEST_P(GeometryLayout, GroupsAdjoinAsFarAsTheLargestFile) {
  const std::uint64_t last_leaf = geometry_.leaf_count(kMaxPlainSize) - 1;
  const std::uint64_t seed = 7 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  Chooser choose(seed);
  std::vector<std::uint64_t> leaves = {1, 2, 127, 128, 129, last_leaf - 1, last_leaf};
  for (std::uint64_t power = 128; power <= last_leaf; power *= 128) {
    for (const std::uint64_t leaf :
         {power - 1, power, power + 1, 3 * power, last_leaf / power * power}) {
      if (leaf <= last_leaf) leaves.push_back(leaf);
    }
  }
  for (int i = 0; i < 20'000; ++i) leaves.push_back(choose.between(1, last_leaf));
  for (const std::uint64_t leaf : leaves) {
    const std::uint64_t nodes = nodes_right_before(leaf);
    const std::uint64_t end_before = geometry_.chunk_offset(leaf * 128 - 1) + chunk_size_;
    ASSERT_EQ(geometry_.node_offset({0, leaf}), end_before + 4096 * nodes) << "leaf " << leaf;
  }
}

TEST_P(GeometryLayout, NodesBeforeFarLeavesCountUp) {
  // Between two leaves that are a power of 128 apart, nodes are those that start there: counted
  // level by level, in integers wide enough for any of it.
  const std::uint64_t last_leaf = geometry_.leaf_count(kMaxPlainSize) - 1;
  const std::uint64_t seed = 70 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  Chooser choose(seed);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t leaf = choose.between(0, last_leaf);
    unsigned __int128 expected = 8192;
    expected += static_cast<unsigned __int128>(leaf) * (4096 + 128 * chunk_size_);
    for (unsigned __int128 below = 1; below <= leaf; below *= 128) {
      expected += 4096;                           // the first of the level
      expected += 4096 * (leaf / (below * 128));  // the others
    }
    ASSERT_TRUE(geometry_.node_offset({0, leaf}) == expected) << "leaf " << leaf;
  }
}

TEST_P(GeometryLayout, InnerNodesStandRightBeforeTheirLeaf) {
  const std::uint64_t last_leaf = geometry_.leaf_count(kMaxPlainSize) - 1;
  const std::uint64_t seed = 700 + GetParam();
  SCOPED_TRACE(seed_trace(seed));
  Chooser choose(seed);
  std::uint64_t below = 1;
  for (unsigned level = 1; level <= kMaxDepth && below <= last_leaf; ++level, below *= 128) {
    EXPECT_EQ(geometry_.node_offset({level, 0}), geometry_.node_offset({0, below}) - 4096 * level);
    const std::uint64_t nodes = last_leaf / (below * 128);
    for (int i = 0; i < 1000 && nodes > 0; ++i) {
      const std::uint64_t index = choose.between(1, nodes);
      ASSERT_EQ(geometry_.node_offset({level, index}),
                geometry_.node_offset({0, index * below * 128}) - 4096 * level)
          << "node " << index << " of level " << level;
    }
  }
}

TEST(Geometry, FirstNodeOfLevelFourIsInPlace) {
  // The enumeration above ends before leaf 128^3; here it is for one chunk size.
  const Layout layout(4096, 128 * 128 * 128 + 2);
  const Geometry geometry(12);
  const auto& last = layout.inner.back();
  EXPECT_EQ(last.level, 1U);
  const auto& highest = layout.inner[layout.inner.size() - 4];
  EXPECT_EQ(highest.level, 4U);
  EXPECT_EQ(geometry.node_offset({4, 0}), highest.offset);
  EXPECT_EQ(geometry.node_offset({0, 128 * 128 * 128 + 1}), layout.leaf_offsets.back());
}

TEST(Geometry, ParentsAndSlots) {
  const NodeId leaf{0, 128 * 5 + 7};
  EXPECT_EQ(leaf.parent(), (NodeId{1, 5}));
  EXPECT_EQ(leaf.slot(), 7U);
  EXPECT_EQ((NodeId{3, 0}).parent(), (NodeId{4, 0}));
  EXPECT_EQ(Geometry::leaf_of(127), (NodeId{0, 0}));
  EXPECT_EQ(Geometry::leaf_of(128), (NodeId{0, 1}));
}

TEST(Geometry, FirstPositionsOfTheFormatPage) {
  // By hand: 4 KiB chunks, group = 4096 + 128 * 4096 = 528384.
  const Geometry geometry(12);
  EXPECT_EQ(geometry.node_offset({0, 0}), 8192U);
  EXPECT_EQ(geometry.chunk_offset(0), 12288U);
  EXPECT_EQ(geometry.chunk_offset(127), 12288U + 127 * 4096);
  EXPECT_EQ(geometry.node_offset({1, 0}), 8192U + 528384);
  EXPECT_EQ(geometry.node_offset({0, 1}), 8192U + 528384 + 4096);
  EXPECT_EQ(geometry.node_offset({0, 2}), 8192U + 2 * 528384 + 4096);
  EXPECT_EQ(geometry.node_offset({2, 0}), 8192U + 128 * 528384 + 4096);
  EXPECT_EQ(geometry.node_offset({1, 1}), 8192U + 128 * 528384 + 2 * 4096);
  EXPECT_EQ(geometry.node_offset({0, 128}), 8192U + 128 * 528384 + 3 * 4096);
}

}  // namespace
}  // namespace coffer
