#include "fs/content/hash_tree.h"

#include <gtest/gtest.h>

#include "keystore/crypto/digest.h"
#include "tests/unit/fs/content/hash_tree_bench.h"

namespace coffer {
namespace {

using testing::HashTreeBench;
using testing::kLeaf;
using testing::kLevel1;
using testing::kLevel2;
using testing::SystemCall;

constexpr std::uint64_t kLevel3 = kLevel2 * 128;

TEST(HashTree, AnEmptyFileHasNoRoot) {
  HashTreeBench bench(1);
  EXPECT_TRUE(all_zero(bench.tree().root()));
  ASSERT_TRUE(bench.tree().flush().ok());
  EXPECT_TRUE(all_zero(bench.tree().root()));
  EXPECT_EQ(bench.file().size(), 0U) << "nothing was written";
}

TEST(HashTree, ARootIsTheHashOfItsOnlyLeaf) {
  HashTreeBench bench(2);
  ASSERT_TRUE(bench.resize(3).ok());
  ASSERT_TRUE(bench.write(0, 3).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  EXPECT_EQ(to_hex(bench.tree().root()), to_hex(sha256(bench.file().bytes(8192, 4096))));
  bench.expect_all_on_disk();
}

TEST(HashTree, InnerNodesHoldTheHashesOfTheirChildren) {
  HashTreeBench bench(3);
  ASSERT_TRUE(bench.resize(kLevel1 + 5).ok());  // 129 leaves: depth 2
  for (const std::uint64_t chunk : {std::uint64_t{0}, kLeaf * 77, kLevel1 + 4}) {
    ASSERT_TRUE(bench.write(chunk).ok());
  }
  ASSERT_TRUE(bench.tree().flush().ok());
  const auto node = [&](unsigned level, std::uint64_t index) {
    return bench.file().bytes(bench.geometry().node_offset({level, index}), 4096);
  };
  const auto entry = [](const ByteVector& block, std::size_t slot) {
    return to_hex(Bytes(block).subspan(slot * 32, 32));
  };
  EXPECT_EQ(to_hex(bench.tree().root()), to_hex(sha256(node(2, 0))));
  EXPECT_EQ(entry(node(2, 0), 0), to_hex(sha256(node(1, 0))));
  EXPECT_EQ(entry(node(2, 0), 1), to_hex(sha256(node(1, 1))));
  EXPECT_EQ(entry(node(2, 0), 2), std::string(64, '0'));
  EXPECT_EQ(entry(node(1, 0), 0), to_hex(sha256(node(0, 0))));
  EXPECT_EQ(entry(node(1, 0), 77), to_hex(sha256(node(0, 77))));
  EXPECT_EQ(entry(node(1, 0), 78), std::string(64, '0'));
  EXPECT_EQ(entry(node(1, 1), 0), to_hex(sha256(node(0, 128))));
}

TEST(HashTree, HolesAreNeitherWrittenNorRead) {
  HashTreeBench bench(4);
  ASSERT_TRUE(bench.resize(kLevel3 + 1).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  EXPECT_TRUE(all_zero(bench.tree().root()));
  EXPECT_EQ(bench.file().size(), 0U);
  // Nothing lies there, and nothing is missed.
  bench.flush_and_reopen();
  bench.calls().before = [](const SystemCall&) { return EIO; };
  bench.expect_all();
}

TEST(HashTree, WhatBecomesAHoleIsNotReadAgain) {
  HashTreeBench bench(5);
  ASSERT_TRUE(bench.resize(2 * kLeaf).ok());
  ASSERT_TRUE(bench.write(kLeaf, 100).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  ASSERT_TRUE(bench.resize(kLeaf).ok());
  ASSERT_TRUE(bench.resize(2 * kLeaf).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  EXPECT_TRUE(all_zero(bench.tree().root()));
  bench.flush_and_reopen();
  bench.expect_all();
}

TEST(HashTree, ReadsPartsOfALeaf) {
  HashTreeBench bench(6);
  ASSERT_TRUE(bench.resize(3 * kLeaf).ok());
  ASSERT_TRUE(bench.write(kLeaf, 128).ok());
  for (const bool flushed : {false, true}) {
    if (flushed) bench.flush_and_reopen();
    for (const auto& [first, count] :
         {std::pair<std::uint64_t, std::uint64_t>{128, 128}, {128, 1}, {255, 1}, {200, 56}}) {
      ByteVector entries(count * 32, 0xee);
      ASSERT_TRUE(bench.tree().read_entries(first, entries).ok());
      for (std::uint64_t i = 0; i < count; ++i) {
        ASSERT_EQ(to_hex(Bytes(entries).subspan(i * 32, 32)), to_hex(bench.expected(first + i)));
      }
    }
  }
}

TEST(HashTree, EveryNodeOnTheWayIsVerified) {
  HashTreeBench bench(7);
  const std::uint64_t chunk = kLevel2 + kLevel1 + kLeaf + 1;
  ASSERT_TRUE(bench.resize(chunk + 1).ok());
  ASSERT_TRUE(bench.write(chunk).ok());
  ASSERT_TRUE(bench.write(0).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  NodeId node = Geometry::leaf_of(chunk);
  ASSERT_EQ(bench.geometry().depth(bench.chunks() * 4096), 3U);
  for (unsigned level = 0; level <= 3; ++level, node = node.parent()) {
    for (const std::uint64_t byte : {0U, 1U, 31U, 32U, 2048U, 4095U}) {
      const std::uint64_t at = bench.geometry().node_offset(node) + byte;
      for (const unsigned bit : {0U, 7U}) {
        bench.file().flip(at, bit);
        bench.reopen(bench.tree().root(), bench.chunks() * 4096);
        HashTreeBench::Entry entry;
        const auto read = bench.tree().read_entries(chunk, entry);
        ASSERT_FALSE(read.ok()) << "level " << level << " byte " << byte;
        EXPECT_EQ(read.error().code, Code::kCorrupt);
        EXPECT_EQ(read.error().errno_value, EIO);
        // Refused for writing too: the change of one entry must not vouch for the others.
        EXPECT_FALSE(bench.tree().write_entries(chunk, entry).ok());
        // The first chunk shares the top node only.
        EXPECT_EQ(bench.tree().read_entries(0, entry).ok(), level != 3);
        bench.file().flip(at, bit);
      }
    }
  }
  bench.reopen(bench.tree().root(), bench.chunks() * 4096);
  bench.expect_all();
}

TEST(HashTree, ANodeInAnothersPlaceIsRefused) {
  HashTreeBench bench(8);
  ASSERT_TRUE(bench.resize(4 * kLeaf).ok());
  for (std::uint64_t leaf = 0; leaf < 4; ++leaf) ASSERT_TRUE(bench.write(leaf * kLeaf, 128).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  const auto at = [&](NodeId node) { return bench.geometry().node_offset(node); };
  const ByteVector second = bench.file().bytes(at({0, 1}), 4096);
  bench.file().put(at({0, 1}), bench.file().bytes(at({0, 2}), 4096));
  bench.file().put(at({0, 2}), second);
  bench.reopen(bench.tree().root(), bench.chunks() * 4096);
  HashTreeBench::Entry entry;
  EXPECT_EQ(bench.tree().read_entries(kLeaf, entry).error().code, Code::kCorrupt);
  EXPECT_EQ(bench.tree().read_entries(2 * kLeaf, entry).error().code, Code::kCorrupt);
  EXPECT_TRUE(bench.tree().read_entries(3 * kLeaf, entry).ok());
  // The leaf in the inner node's place: a node can't pass for one of another level.
  bench.file().put(at({1, 0}), bench.file().bytes(at({0, 0}), 4096));
  bench.reopen(bench.tree().root(), bench.chunks() * 4096);
  EXPECT_EQ(bench.tree().read_entries(0, entry).error().code, Code::kCorrupt);
}

TEST(HashTree, AMissingNodeIsCorrupt) {
  HashTreeBench bench(9);
  ASSERT_TRUE(bench.resize(2 * kLeaf).ok());
  ASSERT_TRUE(bench.write(kLeaf).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  const std::uint64_t leaf = bench.geometry().node_offset({0, 1});
  bench.file().resize(leaf + 4095);
  bench.reopen(bench.tree().root(), bench.chunks() * 4096);
  HashTreeBench::Entry entry;
  EXPECT_EQ(bench.tree().read_entries(kLeaf, entry).error().code, Code::kCorrupt);
}

TEST(HashTree, ATreeOfAnotherSizeDoesNotPass) {
  // The depth follows from the size: the same root with a size of another depth leads nowhere.
  HashTreeBench bench(10);
  ASSERT_TRUE(bench.resize(2 * kLeaf).ok());
  ASSERT_TRUE(bench.write(0).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  const Hash root = bench.tree().root();
  HashTreeBench::Entry entry;
  for (const std::uint64_t chunks : {kLeaf, kLevel1 + 1, kLevel2 + 1}) {
    bench.reopen(root, chunks * 4096);
    EXPECT_EQ(bench.tree().read_entries(0, entry).error().code, Code::kCorrupt) << chunks;
  }
}

TEST(HashTree, DiskErrorsAreNotCorruption) {
  HashTreeBench bench(11);
  ASSERT_TRUE(bench.resize(2 * kLeaf).ok());
  ASSERT_TRUE(bench.write(0).ok());
  bench.flush_and_reopen();
  bench.cache().new_owner();
  bench.calls().before = [](const SystemCall& call) { return call.what == "pread" ? EIO : 0; };
  bench.reopen(bench.tree().root(), bench.chunks() * 4096);
  HashTreeBench::Entry entry;
  const auto read = bench.tree().read_entries(0, entry);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, Code::kIo);
  bench.calls().before = nullptr;
  bench.expect_all();
}

TEST(HashTree, WarmReadsTouchNoDisk) {
  HashTreeBench bench(12);
  ASSERT_TRUE(bench.resize(kLevel1 + 1).ok());
  for (std::uint64_t leaf = 0; leaf < 20; ++leaf) ASSERT_TRUE(bench.write(leaf * kLeaf, 128).ok());
  ASSERT_TRUE(bench.tree().flush().ok());
  bench.calls().before = [](const SystemCall&) { return EIO; };
  bench.expect_all();
}

TEST(HashTree, EachNodeIsReadOnceWhileTheCacheHoldsIt) {
  HashTreeBench bench(13);
  ASSERT_TRUE(bench.resize(kLevel1 + 1).ok());
  for (std::uint64_t leaf = 0; leaf < 20; ++leaf) ASSERT_TRUE(bench.write(leaf * kLeaf, 128).ok());
  bench.flush_and_reopen();
  int reads = 0;
  bench.calls().before = [&](const SystemCall&) {
    ++reads;
    return 0;
  };
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t chunk = 0; chunk < 20 * kLeaf; chunk += 7) bench.expect(chunk);
  }
  EXPECT_EQ(reads, 20 + 2) << "20 leaves, one node of level 1, the top";
}

}  // namespace
}  // namespace coffer
