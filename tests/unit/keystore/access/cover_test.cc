#include "keystore/access/cover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>

namespace coffer {
namespace {

constexpr std::size_t kPlenty = 1'000'000;

TEST(SmallestCover, IsBetterThanTheGreedyOne) {
  // The largest set tempts, and then needs two more.
  const std::vector<CoverSet> sets = {{{1, 2, 3, 4}, 9}, {{0, 1, 2}, 1}, {{3, 4, 5}, 1}};
  const Cover cover = smallest_cover(sets, 6, kPlenty);
  EXPECT_EQ(cover.sets, (std::vector<std::size_t>{1, 2}));
  EXPECT_TRUE(cover.smallest);
}

TEST(SmallestCover, OfAsFewIsTheWeightiest) {
  const std::vector<CoverSet> sets = {{{0, 1}, 1}, {{0}, 1}, {{0, 1}, 5}, {{0, 1}, 4}};
  EXPECT_EQ(smallest_cover(sets, 2, kPlenty).sets, std::vector<std::size_t>{2});
}

TEST(SmallestCover, OfNothingIsNothing) {
  EXPECT_TRUE(smallest_cover({}, 0, kPlenty).sets.empty());
  EXPECT_TRUE(smallest_cover({}, 0, 0).smallest);
}

std::vector<CoverSet> random_sets(std::mt19937& random, std::size_t points, std::size_t count) {
  std::vector<CoverSet> sets;
  for (std::size_t i = 0; i < count; ++i) {
    CoverSet set{.points = {}, .weight = random() % 4};
    for (std::size_t point = 0; point < points; ++point) {
      if (i < points ? i == point : random() % 3 == 0) set.points.push_back(point);
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

std::uint32_t mask_of(const CoverSet& set) {
  std::uint32_t mask = 0;
  for (const std::size_t point : set.points) mask |= 1U << point;
  return mask;
}

TEST(SmallestCover, AgreesWithTryingAll) {
  for (unsigned seed = 1; seed <= 400; ++seed) {
    std::mt19937 random(seed);
    const std::size_t points = 1 + random() % 7;
    const auto sets = random_sets(random, points, points + random() % 5);
    int fewest = 99;
    std::size_t weightiest = 0;
    for (std::uint32_t chosen = 1; chosen < 1U << sets.size(); ++chosen) {
      std::uint32_t covered = 0;
      std::size_t weight = 0;
      for (std::size_t i = 0; i < sets.size(); ++i) {
        if ((chosen >> i & 1U) == 0) continue;
        covered |= mask_of(sets[i]);
        weight += sets[i].weight;
      }
      if (covered != (1U << points) - 1) continue;
      const int count = std::popcount(chosen);
      if (count < fewest) weightiest = 0;
      fewest = std::min(fewest, count);
      if (count == fewest) weightiest = std::max(weightiest, weight);
    }
    const Cover cover = smallest_cover(sets, points, kPlenty);
    std::size_t weight = 0;
    for (const std::size_t index : cover.sets) weight += sets[index].weight;
    ASSERT_EQ(cover.sets.size(), static_cast<std::size_t>(fewest)) << "seed " << seed;
    ASSERT_EQ(weight, weightiest) << "seed " << seed;
    ASSERT_TRUE(cover.smallest);
  }
}

TEST(SmallestCover, CutShortIsACoverWithoutNeedlessSets) {
  int cut_short = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const std::size_t points = 20;
    const auto sets = random_sets(random, points, 60);
    const Cover cover = smallest_cover(sets, points, random() % 200);
    cut_short += cover.smallest ? 0 : 1;
    const auto covered_without = [&](std::size_t left_away) {
      std::uint32_t covered = 0;
      for (const std::size_t index : cover.sets) {
        if (index != left_away) covered |= mask_of(sets[index]);
      }
      return covered == (1U << points) - 1;
    };
    ASSERT_TRUE(covered_without(sets.size())) << "seed " << seed;
    for (const std::size_t index : cover.sets) ASSERT_FALSE(covered_without(index)) << seed;
  }
  EXPECT_GT(cut_short, 100);
}

}  // namespace
}  // namespace coffer
