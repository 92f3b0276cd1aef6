// What is left of a damaged file: every chunk that still authenticates, and no byte that does not.

#include <gtest/gtest.h>

#include "tests/unit/fs/content/tamper_bench.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentWorld;
using testing::seed_trace;
using testing::Shape;
using testing::shapes;
using testing::TamperBench;
using testing::test_binding;

constexpr std::size_t kBuffer = std::size_t{1} << 20U;

class Salvage : public ::testing::TestWithParam<Shape> {
 protected:
  std::unique_ptr<EncryptedFile> open() {
    auto backing = bench_.damaged.open();
    const auto raw = read_raw_header(backing);
    EXPECT_TRUE(raw.ok());
    auto opened = EncryptedFile::open_damaged(bench_.world.context(), std::move(backing), *raw,
                                              bench_.keys, ContentWorld::kOnRecord);
    EXPECT_TRUE(opened.ok());
    return std::move(*opened);
  }

  /// Salvages all that the bench looks at, and compares it with what it was.
  Losses salvage(EncryptedFile& file) {
    Losses losses;
    std::set<std::uint64_t> buffers;
    for (const std::uint64_t chunk : bench_.chunks)
      buffers.insert(bench_.geometry.chunk_start(chunk) / kBuffer * kBuffer);
    for (const std::uint64_t offset : buffers) {
      ByteVector out(kBuffer, 0xee);
      const std::size_t length = file.salvage(offset, out, losses);
      ByteVector right = bench_.model.read(offset, kBuffer);
      EXPECT_EQ(length, right.size());
      for (const ByteRange& range : losses.ranges) {
        for (std::uint64_t at = std::max(range.begin, offset);
             at < std::min(range.end, offset + length); ++at) {
          right[at - offset] = 0;
        }
      }
      EXPECT_TRUE(equal(Bytes(out).first(length), right)) << "WRONG BYTES from " << offset;
    }
    return losses;
  }

  /// The bytes of these chunks, as ranges.
  std::vector<ByteRange> ranges_of(const std::set<std::uint64_t>& chunks) {
    Losses sum;
    for (const std::uint64_t chunk : chunks) {
      const std::uint64_t begin = bench_.geometry.chunk_start(chunk);
      sum.add({begin, begin + bench_.geometry.chunk_length(chunk, bench_.model.size())}, Error{});
    }
    return sum.ranges;
  }

  TamperBench bench_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Shapes, Salvage, ::testing::ValuesIn(shapes()),
                         [](const auto& shape) { return shape.param.name; });

TEST_P(Salvage, AllOfAWholeFile) {
  const auto file = open();
  const Losses losses = salvage(*file);
  EXPECT_TRUE(losses.none());
  EXPECT_EQ(losses.bytes(), 0U);
  EXPECT_FALSE(losses.first.has_value());
  EXPECT_EQ(*file->missing_bytes(), 0U);
  EXPECT_EQ(*file->uncommitted_bytes(), 0U);
}

TEST_P(Salvage, OneChunkLostIsThatChunkAndNoOther) {
  for (const std::uint64_t chunk : bench_.data_chunks) {
    SCOPED_TRACE(chunk);
    bench_.damaged.flip(bench_.geometry.chunk_offset(chunk), 3);
    const Losses losses = salvage(*open());
    EXPECT_EQ(losses.ranges, ranges_of({chunk}));
    ASSERT_TRUE(losses.first.has_value());
    EXPECT_EQ(losses.first->code, Code::kCorrupt);
    bench_.damaged.flip(bench_.geometry.chunk_offset(chunk), 3);
    if (HasFailure()) return;
  }
}

TEST_P(Salvage, EveryOtherChunk) {
  std::set<std::uint64_t> lost;
  bool turn = true;
  for (const std::uint64_t chunk : bench_.data_chunks) {
    turn = !turn;
    if (turn) continue;
    lost.insert(chunk);
    bench_.damaged.flip(bench_.geometry.chunk_offset(chunk), 0);
  }
  EXPECT_EQ(salvage(*open()).ranges, ranges_of(lost));
}

/// All that lies below a node that was altered can't be told from another state of itself.
TEST_P(Salvage, NodesTakeWhatIsBelowThem) {
  for (const NodeId node : bench_.used_nodes()) {
    SCOPED_TRACE(::testing::Message() << "node " << node.index << " of level " << node.level);
    bench_.damaged.flip(bench_.geometry.node_offset(node) + 5, 1);
    const Losses losses = salvage(*open());
    // What was looked at of them; the ranges cover whole buffers.
    const auto below = bench_.below(node);
    for (const std::uint64_t chunk : bench_.chunks) {
      const std::uint64_t at = bench_.geometry.chunk_start(chunk);
      const bool lost =
          std::any_of(losses.ranges.begin(), losses.ranges.end(),
                      [&](const ByteRange& r) { return r.begin <= at && at < r.end; });
      EXPECT_EQ(lost, below.contains(chunk)) << "chunk " << chunk;
    }
    bench_.damaged.flip(bench_.geometry.node_offset(node) + 5, 1);
    if (HasFailure()) return;
  }
}

/// What the tree does not vouch for is given only to who asks for it, and told apart.
TEST_P(Salvage, ChunksWhoseTreeIsLostByTheirOwnTags) {
  const NodeId top = bench_.used_nodes().back();
  if (top.level == 0) return;  // its entries have the tags
  bench_.damaged.flip(bench_.geometry.node_offset(top) + 5, 1);
  const auto file = open();
  for (const std::uint64_t chunk : bench_.data_chunks) {
    const std::uint64_t at = bench_.geometry.chunk_start(chunk);
    ByteVector out(bench_.geometry.chunk_length(chunk, bench_.model.size()), 0xee);
    Losses strict;
    file->salvage(at, out, strict);
    EXPECT_TRUE(all_zero(out));
    EXPECT_EQ(strict.ranges, ranges_of({chunk}));
    EXPECT_TRUE(strict.unvouched.empty());
    Losses lenient;
    file->salvage(at, out, lenient, EncryptedFile::Vouching::kByChunkAlone);
    EXPECT_TRUE(lenient.none());
    EXPECT_EQ(lenient.unvouched, ranges_of({chunk}));
    EXPECT_TRUE(equal(out, bench_.model.read(at, out.size())));
    EXPECT_EQ(lenient.first->code, Code::kCorrupt);
  }
  // And of those, none that is damaged itself.
  const std::uint64_t first = *bench_.data_chunks.begin();
  bench_.damaged.flip(bench_.geometry.chunk_offset(first), 2);
  ByteVector out(bench_.geometry.chunk_length(first, bench_.model.size()), 0xee);
  Losses losses;
  file->salvage(bench_.geometry.chunk_start(first), out, losses,
                EncryptedFile::Vouching::kByChunkAlone);
  EXPECT_EQ(losses.ranges, ranges_of({first}));
  EXPECT_TRUE(losses.unvouched.empty());
  EXPECT_TRUE(all_zero(out));
}

TEST_P(Salvage, WhatIsBeforeTheCutOfACutFile) {
  const std::uint64_t last = *bench_.data_chunks.rbegin();
  const std::uint64_t whole = bench_.damaged.size();
  bench_.damaged.resize(bench_.geometry.chunk_offset(last));
  EXPECT_FALSE(bench_.world.open(bench_.damaged, bench_.keys).ok());
  const auto file = open();
  EXPECT_EQ(*file->missing_bytes(), whole - bench_.damaged.size());
  EXPECT_EQ(salvage(*file).ranges, ranges_of({last}));
}

TEST_P(Salvage, RandomDamageNeverGivesAWrongByte) {
  constexpr std::uint64_t kSeed = 0x5a1fa6e;
  Chooser choose(kSeed);
  SCOPED_TRACE(seed_trace(kSeed));
  const std::uint64_t size = bench_.damaged.size();
  for (int round = 0; round < 200; ++round) {
    for (std::uint64_t i = choose.below(4) + 1; i > 0; --i) {
      bench_.damaged.flip(kBodyOffset + choose.below(size - kBodyOffset),
                          static_cast<unsigned>(choose.below(8)));
    }
    salvage(*open());
    if (HasFailure()) return;
    bench_.restore();
  }
}

TEST_P(Salvage, TailsAreCounted) {
  bench_.damaged.resize(bench_.damaged.size() + 5000);
  const auto file = open();
  EXPECT_EQ(*file->uncommitted_bytes(), 5000U);
  EXPECT_EQ(*file->missing_bytes(), 0U);
  EXPECT_TRUE(salvage(*file).none());
}

TEST(LossesOfAFile, RangesThatTouchAreOne) {
  Losses losses;
  losses.add({0, 4096}, Error{Code::kCorrupt, 0, "first"});
  losses.add({4096, 8192}, Error{Code::kIo, 0, "second"});
  losses.add({12288, 12300}, Error{});
  EXPECT_EQ(losses.ranges, (std::vector<ByteRange>{{0, 8192}, {12288, 12300}}));
  EXPECT_EQ(losses.bytes(), 8204U);
  EXPECT_EQ(losses.first->context, "first");
}

/// An older state that is made the newest: as it was, but for the generation.
TEST_P(Salvage, SupersedeCountsAboveTheRecord) {
  {
    const auto opened = bench_.world.open(bench_.damaged, bench_.keys);
    ASSERT_TRUE(opened.ok());
    const Hash root = (*opened)->committed().root;
    ASSERT_TRUE((*opened)->supersede(100).ok());
    EXPECT_EQ((*opened)->committed().generation, 101U);
    EXPECT_EQ((*opened)->committed().root, root);
    ASSERT_TRUE((*opened)->supersede(7).ok());
    EXPECT_EQ((*opened)->committed().generation, 102U);
  }
  const auto again = bench_.world.open(bench_.damaged, bench_.keys);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->committed().generation, 102U);
  EXPECT_TRUE((*again)->has_binding(test_binding(1)));
  EXPECT_TRUE(salvage(**again).none());
}

}  // namespace
}  // namespace coffer
