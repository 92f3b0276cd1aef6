// Damage to a backing file, object by object: what is damaged is refused, all else is right, and
// nothing wrong is ever read.

#include <gtest/gtest.h>

#include "tests/unit/fs/content/tamper_bench.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::Outcome;
using testing::seed_trace;
using testing::Shape;
using testing::shapes;
using testing::TamperBench;

class EncryptedFileTamper : public ::testing::TestWithParam<Shape> {
 protected:
  TamperBench bench_{GetParam()};

  void expect_whole() {
    const Outcome outcome = bench_.examine();
    EXPECT_TRUE(outcome.opened);
    EXPECT_EQ(outcome.generation, bench_.generation);
    EXPECT_TRUE(outcome.unreadable.empty());
  }
  void expect_unreadable(const std::set<std::uint64_t>& chunks) {
    const Outcome outcome = bench_.examine();
    EXPECT_TRUE(outcome.opened);
    EXPECT_EQ(outcome.unreadable, chunks);
  }
  /// Puts `data` where the chunk lies, which costs that chunk: unless by chance the same lay there,
  /// as of a chunk of one byte it does 1 time in 256.
  void expect_lost_to(std::uint64_t chunk, Bytes data) {
    const std::uint64_t at = bench_.geometry.chunk_offset(chunk);
    bench_.damaged.put(at, data);
    const bool same = equal(bench_.whole.bytes(at, data.size()), data);
    expect_unreadable(same ? std::set<std::uint64_t>{} : std::set{chunk});
  }
  void expect_refused() {
    const Outcome outcome = bench_.examine();
    EXPECT_FALSE(outcome.opened);
    EXPECT_EQ(outcome.refusal, Code::kCorrupt);
  }
  /// Positions in an object: both ends and some in between.
  std::vector<std::uint64_t> samples(std::uint64_t length, int more) {
    std::vector<std::uint64_t> at = {0, length - 1};
    for (int i = 0; i < more; ++i) at.push_back(choose_.below(length));
    return at;
  }
  /// Flips bits of the object one at a time; `expect` says what has to come of each.
  void for_each_flip(std::uint64_t offset, std::uint64_t length, int more,
                     const std::function<void()>& expect) {
    for (const std::uint64_t at : samples(length, more)) {
      const auto bit = static_cast<unsigned>(choose_.below(8));
      SCOPED_TRACE(::testing::Message() << "backing byte " << offset + at << " bit " << bit);
      bench_.damaged.flip(offset + at, bit);
      expect();
      bench_.damaged.flip(offset + at, bit);
      if (HasFailure()) return;
    }
  }

  Chooser choose_{0xda3a6e};
};

INSTANTIATE_TEST_SUITE_P(Shapes, EncryptedFileTamper, ::testing::ValuesIn(shapes()),
                         ::testing::PrintToStringParamName());

TEST_P(EncryptedFileTamper, UndamagedAllIsRead) { expect_whole(); }

TEST_P(EncryptedFileTamper, AFlippedBitInOneSlotLeavesTheOther) {
  // Slot 0 was written last (generation 3), slot 1 before it, of the same content.
  for (const std::uint64_t slot : {0U, 1U}) {
    for_each_flip(slot * 4096, 4096, 60, [&] {
      const Outcome outcome = bench_.examine();
      EXPECT_TRUE(outcome.opened);
      EXPECT_EQ(outcome.generation, slot == 0 ? 2U : 3U);
      EXPECT_TRUE(outcome.unreadable.empty());
    });
  }
}

TEST_P(EncryptedFileTamper, BothSlotsDamagedIsCorruptOrAnotherFilesKey) {
  for (int round = 0; round < 200; ++round) {
    bench_.damaged.put(0, bench_.whole.bytes(0, 8192));
    const std::uint64_t at[] = {choose_.below(4096), 4096 + choose_.below(4096)};
    for (const std::uint64_t byte : at) {
      bench_.damaged.flip(byte, static_cast<unsigned>(choose_.below(8)));
    }
    SCOPED_TRACE(::testing::Message() << "bytes " << at[0] << " and " << at[1]);
    const Outcome outcome = bench_.examine();
    ASSERT_FALSE(outcome.opened);
    // A version that is none yet is named as such.
    EXPECT_TRUE(outcome.refusal == Code::kCorrupt || outcome.refusal == Code::kUnknownVersion);
    if (HasFailure()) return;
  }
}

TEST_P(EncryptedFileTamper, AFlippedBitInANodeCostsWhatIsBelow) {
  for (const NodeId node : bench_.used_nodes()) {
    SCOPED_TRACE(::testing::Message() << "level " << node.level << " index " << node.index);
    const auto below = bench_.below(node);
    ASSERT_FALSE(below.empty());
    for_each_flip(bench_.geometry.node_offset(node), 4096, 40, [&] { expect_unreadable(below); });
    if (HasFailure()) return;
  }
}

TEST_P(EncryptedFileTamper, AFlippedBitInAChunkCostsThatChunk) {
  const int more = bench_.data_chunks.size() > 20 ? 0 : 30;
  for (const std::uint64_t chunk : bench_.data_chunks) {
    const std::uint64_t length = bench_.geometry.chunk_length(chunk, bench_.model.size());
    for_each_flip(bench_.geometry.chunk_offset(chunk), length, more,
                  [&] { expect_unreadable({chunk}); });
    if (HasFailure()) return;
  }
}

TEST_P(EncryptedFileTamper, WhatLiesInHolesIsOfNoAccount) {
  const Geometry& geometry = bench_.geometry;
  const auto used = bench_.used_nodes();
  for (unsigned level = 0; level <= geometry.depth(bench_.model.size()); ++level) {
    const std::uint64_t nodes = geometry.node_count(level, bench_.model.size());
    for (std::uint64_t index = 0; index < nodes; ++index) {
      if (std::find(used.begin(), used.end(), NodeId{level, index}) != used.end()) continue;
      bench_.damaged.put(geometry.node_offset({level, index}), ByteVector(4096, 0x99));
    }
  }
  for (const std::uint64_t chunk : bench_.chunks) {
    if (bench_.data_chunks.count(chunk) != 0) continue;
    const std::uint64_t length = geometry.chunk_length(chunk, bench_.model.size());
    bench_.damaged.put(geometry.chunk_offset(chunk), ByteVector(length, 0x99));
  }
  expect_whole();
}

TEST_P(EncryptedFileTamper, ZeroedObjectsAreRefused) {
  const Geometry& geometry = bench_.geometry;
  for (const NodeId node : bench_.used_nodes()) {
    bench_.restore();
    bench_.damaged.put(geometry.node_offset(node), ByteVector(4096));
    expect_unreadable(bench_.below(node));
  }
  for (const std::uint64_t chunk : bench_.data_chunks) {
    if (bench_.data_chunks.size() > 20 && chunk % 16 != 0) continue;
    bench_.restore();
    const std::uint64_t length = geometry.chunk_length(chunk, bench_.model.size());
    expect_lost_to(chunk, ByteVector(length));
    // With its entry zeroed too it would be a hole: the leaf does not hold then.
    const std::uint64_t entry = geometry.node_offset(Geometry::leaf_of(chunk)) + chunk % 128 * 32;
    bench_.damaged.put(entry, ByteVector(32));
    expect_unreadable(bench_.below(Geometry::leaf_of(chunk)));
  }
  bench_.restore();
  bench_.damaged.put(0, ByteVector(8192));
  expect_refused();
  // Everything but the headers.
  bench_.restore();
  const std::uint64_t size = bench_.damaged.size();
  bench_.damaged.resize(8192);
  bench_.damaged.resize(size);
  expect_unreadable(bench_.chunks);
}

TEST_P(EncryptedFileTamper, ACutFileIsRefusedWholly) {
  const std::uint64_t size = bench_.whole.size();
  std::set<std::uint64_t> lengths = {0, 1, 4095, 4096, 8191, 8192, 8193, size - 1, size - 2};
  const std::uint64_t step = std::max<std::uint64_t>(4096, size / 300 / 4096 * 4096);
  for (std::uint64_t at = step; at < size; at += step) {
    lengths.insert(at);
    lengths.insert(at - 1);
    lengths.insert(at + 1 + choose_.below(4000));
  }
  for (const NodeId node : bench_.used_nodes()) {
    lengths.insert(bench_.geometry.node_offset(node));
    lengths.insert(bench_.geometry.node_offset(node) + 4096);
  }
  // From the end on, so that each cut is the first that shows.
  int filled_up = 0;
  for (auto length = lengths.rbegin(); length != lengths.rend(); ++length) {
    if (*length >= size) continue;
    SCOPED_TRACE(*length);
    bench_.damaged.resize(*length);
    expect_refused();
    if (HasFailure()) return;
    // Filled up with zeros again it opens, and misses what was cut.
    if (*length < 8192 || ++filled_up % 20 != 0) continue;
    bench_.damaged.resize(size);
    EXPECT_TRUE(bench_.examine().opened);
  }
}

TEST_P(EncryptedFileTamper, AnExtendedFileReadsAsBefore) {
  const std::uint64_t size = bench_.whole.size();
  for (const std::uint64_t more : {1U, 4095U, 4096U, 4097U, 1'000'000U}) {
    bench_.restore();
    bench_.damaged.put(size, ByteVector(more, 0x55));
    expect_whole();
  }
}

TEST_P(EncryptedFileTamper, ExchangedChunksAreRefused) {
  std::vector<std::uint64_t> whole_chunks;
  for (const std::uint64_t chunk : bench_.data_chunks) {
    if (bench_.geometry.chunk_length(chunk, bench_.model.size()) == bench_.geometry.chunk_size()) {
      whole_chunks.push_back(chunk);
    }
  }
  const Geometry& geometry = bench_.geometry;
  const auto chunk_bytes = [&](std::uint64_t chunk) {
    return bench_.whole.bytes(geometry.chunk_offset(chunk), geometry.chunk_size());
  };
  for (int round = 0; round < 50 && whole_chunks.size() > 1; ++round) {
    const std::uint64_t a = whole_chunks[choose_.below(whole_chunks.size())];
    const std::uint64_t b = whole_chunks[choose_.below(whole_chunks.size())];
    if (a == b) continue;
    bench_.restore();
    bench_.damaged.put(geometry.chunk_offset(a), chunk_bytes(b));
    expect_unreadable({a});
    bench_.damaged.put(geometry.chunk_offset(b), chunk_bytes(a));
    expect_unreadable({a, b});
  }
}

TEST_P(EncryptedFileTamper, ExchangedNodesAreRefused) {
  const auto nodes = bench_.used_nodes();
  for (const NodeId a : nodes) {
    for (const NodeId b : nodes) {
      if (a == b) continue;
      bench_.restore();
      const std::uint64_t a_at = bench_.geometry.node_offset(a);
      const std::uint64_t b_at = bench_.geometry.node_offset(b);
      bench_.damaged.put(a_at, bench_.whole.bytes(b_at, 4096));
      bench_.damaged.put(b_at, bench_.whole.bytes(a_at, 4096));
      auto lost = bench_.below(a);
      lost.merge(bench_.below(b));
      expect_unreadable(lost);
    }
  }
}

TEST_P(EncryptedFileTamper, PartsOfAnotherFileOfTheStoreAreRefused) {
  // The other file has the same shape, so that everything lies at the same place.
  const TamperBench other(GetParam(), 2);
  const Geometry& geometry = bench_.geometry;
  ASSERT_EQ(other.whole.size(), bench_.whole.size());
  for (const std::uint64_t chunk : bench_.data_chunks) {
    if (bench_.data_chunks.size() > 20 && chunk % 16 != 0) continue;
    bench_.restore();
    const std::uint64_t length = geometry.chunk_length(chunk, bench_.model.size());
    expect_lost_to(chunk, other.whole.bytes(geometry.chunk_offset(chunk), length));
    // With its leaf.
    const NodeId leaf = Geometry::leaf_of(chunk);
    bench_.damaged.put(geometry.node_offset(leaf),
                       other.whole.bytes(geometry.node_offset(leaf), 4096));
    expect_unreadable(bench_.below(leaf));
  }
  // All but the headers.
  bench_.restore();
  for (const NodeId node : bench_.used_nodes()) {
    const std::uint64_t at = geometry.node_offset(node);
    bench_.damaged.put(at, other.whole.bytes(at, 4096));
  }
  for (const std::uint64_t chunk : bench_.data_chunks) {
    const std::uint64_t at = geometry.chunk_offset(chunk);
    const std::uint64_t length = geometry.chunk_length(chunk, bench_.model.size());
    bench_.damaged.put(at, other.whole.bytes(at, length));
  }
  const Outcome body = bench_.examine();
  EXPECT_TRUE(body.opened);
  for (const std::uint64_t chunk : bench_.data_chunks) EXPECT_EQ(body.unreadable.count(chunk), 1U);
  // The whole file, read with this one's key.
  bench_.damaged.copy_from(other.whole);
  EXPECT_EQ(bench_.examine().refusal, Code::kCorrupt);
  // One of its headers beside one of ours.
  bench_.restore();
  bench_.damaged.put(0, other.whole.bytes(0, 4096));
  EXPECT_EQ(bench_.examine().generation, 2U);
}

TEST_P(EncryptedFileTamper, RandomDamageIsNeverReadAsContent) {
  const std::uint64_t seed = 3000 + GetParam().chunk_log2;
  SCOPED_TRACE(seed_trace(seed));
  Chooser choose(seed);
  const std::uint64_t size = bench_.whole.size();
  int opened = 0;
  int refused = 0;
  // Mostly where something lies: the whole of a sparse file would hide it.
  std::vector<std::uint64_t> places = {0, 4096};
  for (const NodeId node : bench_.used_nodes()) places.push_back(bench_.geometry.node_offset(node));
  for (const std::uint64_t chunk : bench_.data_chunks) {
    places.push_back(bench_.geometry.chunk_offset(chunk));
  }
  const auto place = [&] {
    if (choose.one_in(5)) return choose.below(size);
    return std::min(places[choose.below(places.size())] + choose.below(4096), size - 1);
  };
  const int rounds = bench_.chunks.size() > 20 || GetParam().chunk_log2 > 16 ? 100 : 800;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    bench_.restore();
    for (std::uint64_t left = choose.between(1, 3); left > 0; --left) {
      const std::uint64_t now = bench_.damaged.size();
      const std::uint64_t at = std::min(place(), now - 1);
      const std::size_t length = std::min<std::uint64_t>(choose.between(1, 6000), now - at);
      switch (choose.below(6)) {
        case 0:
          bench_.damaged.flip(at, static_cast<unsigned>(choose.below(8)));
          break;
        case 1:
          bench_.damaged.put(at, choose.bytes(length));
          break;
        case 2:
          bench_.damaged.put(at, ByteVector(length));
          break;
        case 3: {
          const std::uint64_t from = std::min(place(), size - length);
          bench_.damaged.put(at, bench_.whole.bytes(from, length));
          break;
        }
        case 4:
          if (choose.one_in(8)) bench_.damaged.resize(at + 1);
          break;
        default:
          bench_.damaged.put(now, choose.bytes(length));
      }
    }
    const Outcome outcome = bench_.examine();
    if (HasFailure()) return;
    if (!outcome.opened || !outcome.unreadable.empty()) {
      ++refused;
    } else {
      ++opened;
    }
  }
  EXPECT_GT(refused, rounds / 10);
  EXPECT_GT(opened, 0);
}

}  // namespace
}  // namespace coffer
