#include "fs/vfs/background.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

namespace coffer {
namespace {

TEST(Background, DoesEverythingInOrder) {
  std::vector<int> done;  // by one thread, and read when that is at rest
  Background background(1000);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(background.add([&done, i] { done.push_back(i); }));
  }
  background.drain();
  ASSERT_EQ(done.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
}

TEST(Background, DrainingWaitsForNothingWhereThereIsNothing) {
  Background background(1);
  background.drain();
  ASSERT_TRUE(background.add([] {}));
  background.drain();
  background.drain();
}

TEST(Background, RefusesWhatIsTooMuch) {
  std::promise<void> begun;
  std::promise<void> go_on;
  std::atomic<int> done = 0;
  Background background(2);
  ASSERT_TRUE(background.add([&] {
    begun.set_value();
    go_on.get_future().wait();
    ++done;
  }));
  begun.get_future().wait();  // being done, it does not wait any more
  EXPECT_TRUE(background.add([&] { ++done; }));
  EXPECT_TRUE(background.add([&] { ++done; }));
  EXPECT_FALSE(background.add([&] { ++done; }));
  go_on.set_value();
  background.drain();
  EXPECT_EQ(done, 3);
  EXPECT_TRUE(background.add([&] { ++done; }));
  background.drain();
  EXPECT_EQ(done, 4);
}

TEST(Background, EndsWhenAllIsDone) {
  std::atomic<int> done = 0;
  {
    Background background(100);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(background.add([&] { ++done; }));
  }
  EXPECT_EQ(done, 100);
}

}  // namespace
}  // namespace coffer
