#include "fs/content/node_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/fs_random.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::seed_trace;

/// A block whose every entry says whose it is.
Block block_of(std::uint64_t owner, NodeId node, std::uint32_t version = 0) {
  Block block;
  for (unsigned slot = 0; slot < kFanOut; ++slot) {
    const MutableBytes entry = node_entry(block, slot);
    store_le(entry, 0, owner);
    store_le(entry, 8, node.index);
    store_le(entry, 16, std::uint32_t{node.level});
    store_le(entry, 20, std::uint32_t{slot});
    store_le(entry, 24, version);
    store_le(entry, 28, ~version);
  }
  return block;
}

bool holds(NodeCache& cache, std::uint64_t owner, NodeId node, std::uint32_t version = 0) {
  Block out;
  out.fill(0xee);
  if (!cache.copy_entries(owner, node, 0, out)) {
    EXPECT_EQ(out[0], 0xee) << "touched although it found nothing";
    return false;
  }
  EXPECT_TRUE(equal(out, block_of(owner, node, version)));
  return true;
}

constexpr std::size_t kOneSet = 8 * kBlockSize;

TEST(NodeCache, SizesAreWholeSetsAndAtLeastOne) {
  EXPECT_EQ(NodeCache(0).capacity_bytes(), kOneSet);
  EXPECT_EQ(NodeCache(1).capacity_bytes(), kOneSet);
  EXPECT_EQ(NodeCache(kOneSet).capacity_bytes(), kOneSet);
  EXPECT_EQ(NodeCache(2 * kOneSet - 1).capacity_bytes(), kOneSet);
  EXPECT_EQ(NodeCache(2 * kOneSet).capacity_bytes(), 2 * kOneSet);
}

TEST(NodeCache, GivesBackWhatWasPut) {
  NodeCache cache(100 * kOneSet);
  const std::uint64_t owner = cache.new_owner();
  EXPECT_FALSE(holds(cache, owner, {0, 5}));
  cache.put(owner, {0, 5}, block_of(owner, {0, 5}));
  EXPECT_TRUE(holds(cache, owner, {0, 5}));
  EXPECT_FALSE(holds(cache, owner, {1, 5}));
  EXPECT_FALSE(holds(cache, owner, {0, 6}));
  EXPECT_FALSE(holds(cache, owner + 1, {0, 5}));
}

TEST(NodeCache, GivesPartsOfANode) {
  NodeCache cache(kOneSet);
  const std::uint64_t owner = cache.new_owner();
  const NodeId node{2, 77};
  cache.put(owner, node, block_of(owner, node));
  const Block whole = block_of(owner, node);
  for (const auto& [first, count] : {std::pair{0U, 1U}, {127U, 1U}, {5U, 100U}, {64U, 64U}}) {
    ByteVector out(count * kEntrySize);
    ASSERT_TRUE(cache.copy_entries(owner, node, first, out));
    EXPECT_TRUE(equal(out, Bytes(whole).subspan(first * kEntrySize, out.size())));
  }
}

TEST(NodeCache, ANewerContentReplacesTheOlder) {
  NodeCache cache(kOneSet);
  const std::uint64_t owner = cache.new_owner();
  for (std::uint32_t version = 0; version < 20; ++version) {
    for (std::uint64_t index = 0; index < 8; ++index) {
      cache.put(owner, {0, index}, block_of(owner, {0, index}, version));
    }
    for (std::uint64_t index = 0; index < 8; ++index) {
      ASSERT_TRUE(holds(cache, owner, {0, index}, version)) << "replacing pushed another out";
    }
  }
}

TEST(NodeCache, TheOneUnusedLongestGivesWay) {
  NodeCache cache(kOneSet);
  const std::uint64_t owner = cache.new_owner();
  for (std::uint64_t index = 0; index < 8; ++index) {
    cache.put(owner, {0, index}, block_of(owner, {0, index}));
  }
  for (const std::uint64_t used : {3U, 0U, 7U, 1U, 2U, 4U, 6U})
    EXPECT_TRUE(holds(cache, owner, {0, used}));
  cache.put(owner, {0, 8}, block_of(owner, {0, 8}));
  EXPECT_FALSE(holds(cache, owner, {0, 5}));
  cache.put(owner, {0, 9}, block_of(owner, {0, 9}));
  EXPECT_FALSE(holds(cache, owner, {0, 3}));
  for (const std::uint64_t index : {0U, 7U, 1U, 2U, 4U, 6U, 8U, 9U}) {
    EXPECT_TRUE(holds(cache, owner, {0, index})) << index;
  }
}

TEST(NodeCache, OwnersAreToldApart) {
  NodeCache cache(1000 * kOneSet);
  std::set<std::uint64_t> owners;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t owner = cache.new_owner();
    EXPECT_NE(owner, 0U);
    EXPECT_TRUE(owners.insert(owner).second);
    cache.put(owner, {0, 0}, block_of(owner, {0, 0}));
  }
  int found = 0;
  for (const std::uint64_t owner : owners) found += holds(cache, owner, {0, 0}) ? 1 : 0;
  EXPECT_GT(found, 90);
}

TEST(NodeCache, NodesOfOneFileSpreadOverTheSets) {
  // Neighbours that fell into one set would make a big cache as good as one of eight nodes.
  constexpr std::size_t kSets = 256;
  NodeCache cache(kSets * kOneSet);
  const std::uint64_t owner = cache.new_owner();
  for (const unsigned level : {0U, 1U}) {
    for (std::uint64_t index = 0; index < kSets * 2; ++index) {
      cache.put(owner, {level, index * 128}, block_of(owner, {level, index * 128}));
    }
  }
  int found = 0;
  for (const unsigned level : {0U, 1U}) {
    for (std::uint64_t index = 0; index < kSets * 2; ++index) {
      found += holds(cache, owner, {level, index * 128}) ? 1 : 0;
    }
  }
  EXPECT_GT(found, static_cast<int>(kSets * 4 * 8 / 10));
}

TEST(NodeCache, NeverGivesWhatIsNotTheNewest) {
  constexpr std::uint64_t kSeed = 71;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  NodeCache cache(3 * kOneSet);
  std::map<std::tuple<std::uint64_t, unsigned, std::uint64_t>, std::uint32_t> newest;
  const std::vector<std::uint64_t> owners = {cache.new_owner(), cache.new_owner()};
  int hits = 0;
  for (std::uint32_t round = 1; round <= 20'000; ++round) {
    const std::uint64_t owner = owners[choose.below(2)];
    const NodeId node{static_cast<unsigned>(choose.below(3)), choose.below(12)};
    if (choose.one_in(2)) {
      cache.put(owner, node, block_of(owner, node, round));
      newest[{owner, node.level, node.index}] = round;
    } else if (newest.count({owner, node.level, node.index}) != 0) {
      hits += holds(cache, owner, node, newest[{owner, node.level, node.index}]) ? 1 : 0;
    } else {
      ASSERT_FALSE(holds(cache, owner, node));
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(hits, 1000);
}

TEST(NodeCache, ThreadsNeverSeeAHalfWrittenNode) {
  NodeCache cache(kOneSet);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      Chooser choose(t);
      Block out;
      for (std::uint32_t i = 0; i < 5000; ++i) {
        const NodeId node{0, choose.below(12)};
        if (choose.one_in(3)) {
          cache.put(1, node, block_of(1, node, static_cast<std::uint32_t>(choose.next())));
        } else if (cache.copy_entries(1, node, 0, out)) {
          const auto version = load_le<std::uint32_t>(out, 24);
          if (!equal(out, block_of(1, node, version))) ADD_FAILURE() << "torn node";
        }
        if (choose.one_in(50)) (void)cache.new_owner();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace coffer
