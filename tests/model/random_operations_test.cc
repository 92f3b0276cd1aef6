// Random operations on a filesystem and on a model of it.
//
// COFFER_MODEL_OPERATIONS=100000 COFFER_MODEL_SEED=7 makes a long run of it, or runs a failure
// again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/model_counts.h"
#include "tests/model/tree_driver.h"
#include "tests/support/store_tree.h"
#include "tests/support/store_whole.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::IsEmpty;

constexpr std::uint64_t kOperationsBetweenComparisons = 250;
constexpr std::uint64_t kOperationsBetweenReopenings = 500;

struct Setup {
  const char* name;
  NamesMode names;
  unsigned chunk_log2;
  std::size_t directory_cache;
  std::uint64_t seed;
};

std::ostream& operator<<(std::ostream& out, const Setup& setup) { return out << setup.name; }

class RandomOperations : public ::testing::TestWithParam<Setup> {
 protected:
  RandomOperations()
      : store_({.names = GetParam().names, .chunk_log2 = GetParam().chunk_log2}),
        driver_(store_.vfs(), {.top = {},
                               .seed = seed_or(GetParam().seed),
                               .chunk_size = std::size_t{1} << GetParam().chunk_log2,
                               .reserved_names = GetParam().names == NamesMode::kEncrypted}) {
    reopen();
  }

  void reopen() {
    driver_.pause();
    store_.vfs().settle_closed();
    EXPECT_EQ(store_.vfs().counts().inodes, 1U) << "inodes that nobody holds";
    EXPECT_EQ(store_.vfs().counts().open_files, 0U);
    EXPECT_EQ(store_.key_states()[KeyState::kActive], driver_.files());
    store_.reopen({.directory_cache = GetParam().directory_cache});
    driver_.resume(store_.vfs());
    driver_.compare_all();
  }

  WholeStore store_;
  TreeDriver driver_;
};

TEST_P(RandomOperations, AgreeWithTheModel) {
  const std::uint64_t operations = operations_to_do();
  for (std::uint64_t done = 1; done <= operations && !driver_.failed(); ++done) {
    driver_.step();
    if (done % kOperationsBetweenComparisons == 0) {
      driver_.compare_all();
      EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
    }
    if (done % kOperationsBetweenReopenings == 0) reopen();
    if (HasFailure()) break;
  }
  if (HasFailure()) {
    std::cout << "seed " << seed_or(GetParam().seed) << ", the last operations:\n"
              << driver_.last_operations();
  }
  driver_.pause();
}

INSTANTIATE_TEST_SUITE_P(
    Stores, RandomOperations,
    ::testing::Values(Setup{"Encrypted4K", NamesMode::kEncrypted, 12, 1024, 1},
                      Setup{"Encrypted4KFewDirectories", NamesMode::kEncrypted, 12, 3, 2},
                      Setup{"Encrypted64KFewDirectories", NamesMode::kEncrypted, 16, 2, 3},
                      Setup{"Plain4KFewDirectories", NamesMode::kPlain, 12, 3, 4},
                      Setup{"Plain64K", NamesMode::kPlain, 16, 1024, 5},
                      Setup{"Encrypted4KOneDirectory", NamesMode::kEncrypted, 12, 1, 6}),
    [](const auto& setup) { return std::string(setup.param.name); });

}  // namespace
}  // namespace coffer
