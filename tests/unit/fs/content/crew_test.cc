#include "fs/content/crew.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "keystore/base/mutex.h"

namespace coffer {
namespace {

using namespace std::chrono_literals;

TEST(CrewTest, EachPartIsDoneOnce) {
  Crew crew;
  for (const std::size_t parts : {0U, 1U, 15U, 16U, 17U, 128U, 1000U}) {
    for (const auto pause : {0us, 20us}) {
      std::vector<std::atomic<unsigned>> done(parts);
      crew.run(parts, [&](std::size_t i) {
        ++done[i];
        if (pause > 0us) std::this_thread::sleep_for(pause);
      });
      for (const auto& times : done) EXPECT_EQ(times, 1U);
    }
  }
}

/// Of work that takes long enough for them to come. On one processor there is nobody to help.
TEST(CrewTest, OthersHelp) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one processor";
  Crew crew;
  Mutex mutex;
  std::set<std::thread::id> helpers;
  for (int attempt = 0; attempt < 100 && helpers.size() < 2; ++attempt) {
    crew.run(100, [&](std::size_t) {
      std::this_thread::sleep_for(1ms);
      MutexLock lock(mutex);
      helpers.insert(std::this_thread::get_id());
    });
  }
  EXPECT_GE(helpers.size(), 2U);
}

TEST(CrewTest, WhatIsQuicklyDoneIsDoneAlone) {
  Crew crew;
  std::array<std::thread::id, 16> who;
  crew.run(who.size(), [&](std::size_t i) { who[i] = std::this_thread::get_id(); });
  for (const auto id : who) EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(CrewTest, SeveralAtOnceGetTheirOwnWorkDone) {
  Crew crew;
  std::vector<std::thread> threads;
  std::array<std::atomic<unsigned>, 4> sums{};
  for (std::size_t t = 0; t < sums.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        crew.run(64, [&](std::size_t i) {
          sums[t] += static_cast<unsigned>(i);
          std::this_thread::sleep_for(10us);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& sum : sums) EXPECT_EQ(sum, 20U * (63 * 64 / 2));
}

}  // namespace
}  // namespace coffer
