// Threads that each work in a directory of their own against a model of it, and all together in two
// shared ones.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/model/model_counts.h"
#include "tests/model/shared_directories.h"
#include "tests/model/tree_driver.h"
#include "tests/support/store_tree.h"
#include "tests/support/store_whole.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::IsEmpty;

constexpr unsigned kThreads = 4;
constexpr unsigned kRounds = 3;  // the store is reopened after each
constexpr std::uint64_t kFirstSeed = 100;

class SeveralThreads : public ::testing::TestWithParam<NamesMode> {};

TEST_P(SeveralThreads, AgreeWithTheirModels) {
  WholeStore store({.names = GetParam()});
  store.reopen({.directory_cache = 4});
  SharedDirectories shared(store.vfs());
  std::vector<std::unique_ptr<TreeDriver>> drivers;
  std::vector<Chooser> choosers;
  for (unsigned i = 0; i < kThreads; ++i) {
    const std::string top = "/own" + std::to_string(i);
    ASSERT_EQ(outcome_of(PathUser(store.vfs()).make_directory(top, 0700)), "ok");
    const std::uint64_t seed = seed_or(kFirstSeed) + i;
    choosers.emplace_back(seed);
    drivers.push_back(std::make_unique<TreeDriver>(
        store.vfs(), DriverSetup{.top = top,
                                 .seed = seed,
                                 .chunk_size = 4096,
                                 .reserved_names = GetParam() == NamesMode::kEncrypted}));
  }

  const std::uint64_t operations = operations_to_do() / kThreads / kRounds;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (std::uint64_t done = 0; done < operations && !drivers[i]->failed(); ++done) {
          drivers[i]->step();
          if (!shared.step(choosers[i], i)) break;
        }
        drivers[i]->compare_all();
        drivers[i]->pause();
      });
    }
    for (std::thread& thread : threads) thread.join();
    store.vfs().settle_closed();
    EXPECT_EQ(store.vfs().counts().inodes, 1U) << "inodes that nobody holds";
    EXPECT_EQ(store.vfs().counts().open_files, 0U);
    store.reopen({.directory_cache = 4});
    EXPECT_THAT(backing_flaws(store.backing()), IsEmpty());
    shared.check_all(store.vfs());
    for (const auto& driver : drivers) {
      driver->resume(store.vfs());
      driver->compare_all();
    }
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Names, SeveralThreads,
                         ::testing::Values(NamesMode::kEncrypted, NamesMode::kPlain),
                         [](const auto& mode) {
                           return mode.param == NamesMode::kPlain ? "Plain" : "Encrypted";
                         });

}  // namespace
}  // namespace coffer
