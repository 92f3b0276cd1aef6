// The hash tree while the file grows and shrinks: nothing that went may come back.

#include <gtest/gtest.h>

#include "tests/unit/fs/content/hash_tree_bench.h"

namespace coffer {
namespace {

using testing::HashTreeBench;
using testing::kLeaf;
using testing::kLevel1;
using testing::kLevel2;
using testing::seed_trace;
using testing::SystemCall;

/// Chunk counts at which the shape of the tree changes.
const std::vector<std::uint64_t>& chunk_counts() {
  static const std::vector<std::uint64_t> counts = {0,
                                                    1,
                                                    2,
                                                    kLeaf - 1,
                                                    kLeaf,
                                                    kLeaf + 1,
                                                    2 * kLeaf,
                                                    kLevel1 - 1,
                                                    kLevel1,
                                                    kLevel1 + 1,
                                                    kLevel1 + kLeaf,
                                                    2 * kLevel1,
                                                    kLevel2 - 1,
                                                    kLevel2,
                                                    kLevel2 + 1,
                                                    kLevel2 + kLevel1 + kLeaf + 1,
                                                    2 * kLevel2,
                                                    128 * kLevel2 + 1};
  return counts;
}

enum class Between { kNothing, kFlush, kReopen };

class HashTreeResize : public ::testing::TestWithParam<std::tuple<Between, std::size_t>> {
 protected:
  void between(HashTreeBench& bench) {
    switch (std::get<0>(GetParam())) {
      case Between::kNothing:
        return;
      case Between::kFlush:
        ASSERT_TRUE(bench.tree().flush().ok());
        return;
      case Between::kReopen:
        bench.flush_and_reopen();
        return;
    }
  }
  [[nodiscard]] std::size_t cache_bytes() const { return std::get<1>(GetParam()); }
};

using Param = ::testing::TestParamInfo<HashTreeResize::ParamType>;

std::string name_of(const Param& param) {
  constexpr const char* kNames[] = {"nothing", "flush", "reopen"};
  return std::string(kNames[static_cast<int>(std::get<0>(param.param))]) +
         (std::get<1>(param.param) == 1 ? "_tiny_cache" : "_cache");
}

INSTANTIATE_TEST_SUITE_P(
    All, HashTreeResize,
    ::testing::Combine(::testing::Values(Between::kNothing, Between::kFlush, Between::kReopen),
                       ::testing::Values(std::size_t{1}, std::size_t{4} << 20)),
    name_of);

TEST_P(HashTreeResize, FromEachShapeToEachOther) {
  for (const std::uint64_t from : chunk_counts()) {
    for (const std::uint64_t to : chunk_counts()) {
      SCOPED_TRACE(::testing::Message() << from << " to " << to << " chunks");
      HashTreeBench bench(from * 31 + to, cache_bytes());
      ASSERT_TRUE(bench.resize(from).ok());
      // Something at both ends, and next to where the other size would end.
      for (const std::uint64_t chunk : {std::uint64_t{0}, from - 1, to - 1, to, to + 1, from / 2}) {
        if (chunk < from) {
          ASSERT_TRUE(bench.write(chunk).ok());
        }
      }
      between(bench);
      bench.expect_all();
      ASSERT_TRUE(bench.resize(to).ok());
      bench.expect_all();
      between(bench);
      ASSERT_TRUE(bench.resize(from).ok());
      bench.expect_all();
      if (from > 0) {
        ASSERT_TRUE(bench.write(from - 1).ok());
      }
      bench.expect_all();
      ASSERT_TRUE(bench.tree().flush().ok());
      bench.expect_all();
      bench.expect_all_on_disk();
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(HashTreeResize, GrowingStepByStepAndBack) {
  HashTreeBench bench(77, cache_bytes());
  for (const std::uint64_t chunks : chunk_counts()) {
    ASSERT_TRUE(bench.resize(chunks).ok());
    if (chunks > 0) {
      ASSERT_TRUE(bench.write(chunks - 1).ok());
    }
    between(bench);
    bench.expect_all();
    if (HasFatalFailure()) return;
  }
  for (auto chunks = chunk_counts().rbegin(); chunks != chunk_counts().rend(); ++chunks) {
    ASSERT_TRUE(bench.resize(*chunks).ok());
    between(bench);
    bench.expect_all();
    if (HasFatalFailure()) return;
  }
  ASSERT_TRUE(bench.tree().flush().ok());
  EXPECT_TRUE(all_zero(bench.tree().root()));
}

TEST_P(HashTreeResize, RandomOperationsMatchTheMap) {
  for (const std::uint64_t seed : {81U, 82U, 83U}) {
    SCOPED_TRACE(seed_trace(seed));
    HashTreeBench bench(seed, cache_bytes());
    auto& choose = bench.choose();
    for (int step = 0; step < 1500; ++step) {
      SCOPED_TRACE(::testing::Message() << "step " << step);
      const std::uint64_t what = choose.below(10);
      if (what < 2 || bench.chunks() == 0) {
        std::uint64_t chunks = chunk_counts()[choose.below(chunk_counts().size())];
        if (choose.one_in(2)) chunks = choose.below(chunks + 3 * kLeaf);
        ASSERT_TRUE(bench.resize(chunks).ok());
      } else if (what < 7) {
        std::uint64_t chunk = choose.below(bench.chunks());
        if (choose.one_in(2))
          chunk = std::min(chunk_counts()[choose.below(chunk_counts().size())], chunk);
        const std::uint64_t in_leaf = std::min(kLeaf - chunk % kLeaf, bench.chunks() - chunk);
        ASSERT_TRUE(bench.write(chunk, choose.between(1, in_leaf)).ok());
      } else if (what == 7) {
        between(bench);
      } else {
        bench.expect(choose.below(bench.chunks()));
      }
      if (step % 50 == 0) bench.expect_all();
      if (HasFatalFailure()) return;
    }
    ASSERT_TRUE(bench.tree().flush().ok());
    bench.expect_all_on_disk();
  }
}

TEST(HashTreeFaults, AFailedFlushIsTriedAgain) {
  for (int failing = 0;; ++failing) {
    HashTreeBench bench(91);
    ASSERT_TRUE(bench.resize(kLevel1 + 1).ok());
    ASSERT_TRUE(bench.write(0).ok());
    ASSERT_TRUE(bench.write(kLevel1).ok());
    bench.flush_and_reopen();
    const Hash before = bench.tree().root();
    for (const std::uint64_t chunk : {std::uint64_t{1}, 5 * kLeaf, kLevel1}) {
      ASSERT_TRUE(bench.write(chunk).ok());
    }
    int writes = 0;
    bench.calls().before = [&](const SystemCall& call) {
      return call.what == "pwrite" && writes++ == failing ? ENOSPC : 0;
    };
    const auto flushed = bench.tree().flush();
    if (writes <= failing) {
      ASSERT_TRUE(flushed.ok());
      EXPECT_EQ(failing, 6) << "three leaves, two nodes of level 1, the top";
      return;
    }
    ASSERT_FALSE(flushed.ok());
    EXPECT_EQ(flushed.error().errno_value, ENOSPC);
    EXPECT_EQ(bench.tree().root(), before) << "a root without its nodes";
    EXPECT_GT(bench.tree().changed_nodes(), 0U);
    bench.expect_all();
    ASSERT_TRUE(bench.write(7 * kLeaf).ok());
    ASSERT_TRUE(bench.tree().flush().ok());
    EXPECT_EQ(bench.tree().changed_nodes(), 0U);
    bench.expect_all_on_disk();
    if (HasFailure()) return;
  }
}

TEST(HashTreeFaults, AFlushThatCannotReadIsTriedAgain) {
  HashTreeBench bench(92, 1);
  ASSERT_TRUE(bench.resize(kLevel2 + 1).ok());
  for (std::uint64_t leaf = 0; leaf < 40; ++leaf) ASSERT_TRUE(bench.write(leaf * kLevel1 + 1).ok());
  bench.flush_and_reopen();
  for (std::uint64_t leaf = 0; leaf < 40; ++leaf) ASSERT_TRUE(bench.write(leaf * kLevel1 + 2).ok());
  bench.calls().before = [](const SystemCall& call) { return call.what == "pread" ? EIO : 0; };
  EXPECT_EQ(bench.tree().flush().error().errno_value, EIO);
  bench.calls().before = nullptr;
  bench.expect_all();
  ASSERT_TRUE(bench.tree().flush().ok());
  bench.expect_all_on_disk();
}

TEST(HashTreeFaults, AFailedShrinkChangesNothing) {
  // The nodes along the new edge have to be read first. Whichever of them can't be: the entries are
  // all still there.
  for (const std::uint64_t to : {std::uint64_t{1}, kLeaf + 1, kLevel1 + kLeaf + 5, kLevel2 + 3}) {
    for (int failing = 0;; ++failing) {
      SCOPED_TRACE(::testing::Message() << "to " << to << " chunks, read " << failing);
      HashTreeBench bench(93, 1);
      const std::uint64_t from = kLevel2 + kLevel1 + kLeaf + 9;
      ASSERT_TRUE(bench.resize(from).ok());
      for (const std::uint64_t chunk : {to - 1, to, to + 1, to + 2, from - 1}) {
        ASSERT_TRUE(bench.write(chunk).ok());
      }
      bench.flush_and_reopen();
      int reads = 0;
      bench.calls().before = [&](const SystemCall& call) {
        // Other files push out what was just read.
        for (std::uint64_t i = 0; i < 8; ++i) bench.cache().put(1'000'000, {0, i}, Block{});
        return call.what == "pread" && reads++ == failing ? EIO : 0;
      };
      const auto done = bench.resize(to);
      bench.calls().before = nullptr;
      bench.expect_all();
      if (reads <= failing) {
        ASSERT_TRUE(done.ok());
        ASSERT_GE(failing, 2);
        break;
      }
      ASSERT_FALSE(done.ok());
      EXPECT_EQ(done.error().errno_value, EIO);
      ASSERT_TRUE(bench.tree().flush().ok());
      bench.expect_all_on_disk();
      ASSERT_TRUE(bench.resize(to).ok());
      bench.expect_all();
      ASSERT_TRUE(bench.tree().flush().ok());
      bench.expect_all_on_disk();
      if (HasFailure()) return;
    }
  }
}

TEST(HashTreeFaults, WhatIsHeldCanBeWrittenWithoutReading) {
  struct Case {
    std::uint64_t chunks;
    std::uint64_t chunk;
    std::uint64_t grown;
  };
  const std::uint64_t big = kLevel2 + kLevel1 + kLeaf;
  for (const Case& c :
       {Case{kLevel1, 5, kLevel1},              // a leaf that is there
        Case{5 * kLeaf, 5 * kLeaf, 6 * kLeaf},  // the next one
        Case{5 * kLeaf, 100 * kLeaf, 101 * kLeaf}, Case{kLeaf, kLeaf, kLeaf + 1},  // one level more
        Case{kLevel1, kLevel1, kLevel1 + 1},                                       // and again
        Case{3, kLevel2, kLevel2 + 1},                                             // three more
        Case{big, big, big + 1}, Case{big, big + kLevel1, big + kLevel1 + 1}, Case{0, 0, 1},
        Case{0, kLevel2, kLevel2 + 1}}) {
    SCOPED_TRACE(::testing::Message() << c.chunks << " to " << c.grown);
    HashTreeBench bench(94);
    ASSERT_TRUE(bench.resize(c.chunks).ok());
    for (std::uint64_t chunk = 0; chunk < c.chunks; chunk += kLevel1 / 2) {
      ASSERT_TRUE(bench.write(chunk).ok());
    }
    bench.flush_and_reopen();
    ASSERT_TRUE(bench.tree().hold(c.chunk).ok());
    bench.calls().before = [](const SystemCall&) { return EIO; };
    ASSERT_TRUE(bench.resize(c.grown).ok());
    ASSERT_TRUE(bench.write(c.chunk).ok());
    bench.calls().before = nullptr;
    bench.expect_all();
    ASSERT_TRUE(bench.tree().flush().ok());
    bench.expect_all_on_disk();
    if (HasFailure()) return;
  }
}

TEST(HashTreeFaults, HoldingReportsWhatCannotBeRead) {
  HashTreeBench bench(95);
  ASSERT_TRUE(bench.resize(kLevel1).ok());
  ASSERT_TRUE(bench.write(0).ok());
  bench.flush_and_reopen();
  bench.calls().before = [](const SystemCall&) { return EIO; };
  EXPECT_EQ(bench.tree().hold(0).error().errno_value, EIO);
  EXPECT_EQ(bench.tree().hold_edge(4096).error().errno_value, EIO);
}

}  // namespace
}  // namespace coffer
