#include "keystore/base/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace coffer {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 2000;

template <typename Body>
void in_threads(Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(body);
  for (auto& thread : threads) thread.join();
}

TEST(Mutex, KeepsOthersOut) {
  Mutex mutex;
  int count = 0;
  in_threads([&] {
    for (int i = 0; i < kRounds; ++i) {
      MutexLock lock(mutex);
      ++count;
    }
  });
  EXPECT_EQ(count, kThreads * kRounds);
}

TEST(SharedMutex, WritersAreAlone) {
  SharedMutex mutex;
  int a = 0;
  int b = 0;
  std::atomic<bool> torn{false};
  in_threads([&] {
    for (int i = 0; i < kRounds; ++i) {
      if (i % 4 == 0) {
        WriteLock lock(mutex);
        ++a;
        ++b;
      } else {
        ReadLock lock(mutex);
        if (a != b) torn = true;
      }
    }
  });
  EXPECT_FALSE(torn);
  EXPECT_EQ(a, kThreads * kRounds / 4);
}

TEST(SharedMutex, ReadersAreTogether) {
  // Each thread holds its lock until all have theirs; exclusive locks would never get there.
  SharedMutex mutex;
  std::atomic<int> inside{0};
  in_threads([&] {
    ReadLock lock(mutex);
    ++inside;
    while (inside < kThreads) std::this_thread::yield();
  });
  EXPECT_EQ(inside, kThreads);
}

TEST(CondVar, WakesWhoWaits) {
  Mutex mutex;
  CondVar changed;
  int turn = 0;
  std::thread other([&] {
    MutexLock lock(mutex);
    for (int i = 0; i < 100; ++i) {
      while (turn % 2 == 0) changed.wait(mutex);
      ++turn;
      changed.notify_one();
    }
  });
  {
    MutexLock lock(mutex);
    for (int i = 0; i < 100; ++i) {
      while (turn % 2 == 1) changed.wait(mutex);
      ++turn;
      changed.notify_all();
    }
  }
  other.join();
  EXPECT_EQ(turn, 200);
}

TEST(CondVar, WaitForEndsByItself) {
  Mutex mutex;
  CondVar changed;
  MutexLock lock(mutex);
  // Returns without a notification, and with the lock held again (else the unlock is undefined and
  // the thread sanitizer says so).
  while (changed.wait_for(mutex, std::chrono::milliseconds(1))) {
  }
}

}  // namespace
}  // namespace coffer
