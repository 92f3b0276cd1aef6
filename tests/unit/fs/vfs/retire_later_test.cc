// Files that are removed while nobody has them open: their keys are retired by another thread, and
// whoever opens them at that very moment is not left with a file whose end he was not told of.

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "tests/support/fs_syscalls.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class RetireLaterTest : public StoreTest {
 protected:
  RetireLaterTest() {
    calls_.before = [this](const SystemCall& call) {
      // Another thread's calls, and those of what is done in between, go through.
      if (std::this_thread::get_id() != thread_)
        std::this_thread::sleep_for(std::chrono::milliseconds(others_wait_ms_));
      if (std::this_thread::get_id() != thread_ || call.what != before_) return 0;
      before_ = "";
      std::exchange(do_, nullptr)();
      return 0;
    };
    store_.reopen({.calls = &calls_});
  }

  /// Once, before this thread's next call of that name.
  void before_next(std::string_view what, std::function<void()> act) {
    before_ = what;
    do_ = std::move(act);
  }
  static std::size_t removed_but_open() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      struct stat status {};
      if (::stat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
        count += status.st_nlink == 0 ? 1U : 0U;
    }
    return count;
  }
  std::size_t keys(KeyState state) { return store_.key_states()[state]; }

  /// Before each call of another thread.
  std::atomic<int> others_wait_ms_ = 0;

 private:
  const std::thread::id thread_ = std::this_thread::get_id();
  HookedSyscalls calls_;
  std::string_view before_;
  std::function<void()> do_;
};

TEST_F(RetireLaterTest, AnOpeningThatWasOvertakenIsTold) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldInode kernels = me().find("/file").value();
  bool removed = false;
  before_next("pread", [&] { removed = me().unlink("/file").ok(); });  // it reads the header
  const auto opened = me().open("/file", O_RDONLY);
  EXPECT_TRUE(removed);
  EXPECT_THAT(outcome_of(opened), ::testing::AnyOf("ENOENT", "ESTALE"));
  EXPECT_EQ(keys(KeyState::kActive), 0U);
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

TEST_F(RetireLaterTest, WhoOpenedItJustBeforeKeepsIt) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldInode kernels = me().find("/file").value();  // which has looked it up
  std::optional<HeldFile> held;
  before_next("unlinkat", [&] { held = me().open("/file", O_RDWR).value(); });
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(outcome_of(me().open("/file")), "ENOENT");
  EXPECT_EQ(keys(KeyState::kDeactivated), 0U);
  ASSERT_TRUE(held->write(7, " and more").ok());
  EXPECT_EQ(held->read().value(), "content and more");
  held->close();
  EXPECT_EQ(keys(KeyState::kActive), 0U);
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

TEST_F(RetireLaterTest, WhatWasWrittenAndClosedJustBeforeGoesToo) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  before_next("unlinkat", [&] { EXPECT_EQ(outcome_of(me().put("/file", "other")), kOk); });
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(keys(KeyState::kActive), 0U);
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

TEST_F(RetireLaterTest, ALinkKeepsTheKey) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().link("/file", "/other")), kOk);
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(keys(KeyState::kActive), 1U);
  EXPECT_EQ(me().get("/other").value(), "content");
  ASSERT_EQ(outcome_of(me().unlink("/other")), kOk);
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

/// NFS keeps a removed file in its directory, by another name, for who has it open.
TEST_F(RetireLaterTest, NoneIsOpenWhenItsDirectoryGoes) {
  ASSERT_EQ(outcome_of(me().make_directory("/d")), kOk);
  ASSERT_EQ(outcome_of(me().put("/d/file", "content")), kOk);
  const std::size_t before = removed_but_open();
  others_wait_ms_ = 50;
  ASSERT_EQ(outcome_of(me().unlink("/d/file")), kOk);
  EXPECT_EQ(removed_but_open(), before + 1);
  ASSERT_EQ(outcome_of(me().remove_directory("/d")), kOk);
  EXPECT_EQ(removed_but_open(), before);
}

/// Who removes a file to make room has it when he is answered.
TEST_F(RetireLaterTest, ALargeOneIsNotKeptOpen) {
  ASSERT_EQ(outcome_of(me().put("/file", std::string(1'000'000, 'x'))), kOk);
  const std::size_t before = removed_but_open();
  others_wait_ms_ = 50;
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(removed_but_open(), before);
}

TEST_F(RetireLaterTest, AttributesGoWithTheFile) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().set_xattr("/file", "user.a", "one")), kOk);
  store_.reopen();
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(keys(KeyState::kActive), 0U);
}  // no sidecar may be left

TEST_F(RetireLaterTest, WhoseKeyIsUsedStandsInTheAuditLog) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  store_.reopen();
  store_.new_audit();
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  vfs().settle_removed();
  const auto lines = store_.new_audit();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["event"], "release");
  EXPECT_EQ(lines[0]["right"], "write");
  EXPECT_EQ(lines[0]["path"], "/file");
  EXPECT_EQ(lines[0]["identity"]["uid"], ::geteuid());
}

/// More than may wait, from several threads, with others who read.
TEST_F(RetireLaterTest, ManyAtOnce) {
  constexpr int kThreads = 3;
  constexpr int kFiles = 400;
  const auto name = [](int thread, int i) {
    return "/d" + std::to_string(thread) + "/f" + std::to_string(i);
  };
  for (int thread = 0; thread < kThreads; ++thread) {
    ASSERT_EQ(outcome_of(me().make_directory("/d" + std::to_string(thread))), kOk);
    for (int i = 0; i < kFiles; ++i) ASSERT_EQ(outcome_of(me().put(name(thread, i), "x")), kOk);
  }
  store_.reopen();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kFiles; ++i) EXPECT_EQ(outcome_of(me().unlink(name(thread, i))), kOk);
    });
    threads.emplace_back([&, thread] {
      for (int i = kFiles - 1; i >= 0; --i) {
        const auto read = me().get(name(thread, i));
        EXPECT_THAT(outcome_of(read), ::testing::AnyOf(kOk, "ENOENT", "ESTALE"));
        EXPECT_EQ(read ? *read : "x", "x");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(keys(KeyState::kActive), 0U);
  EXPECT_EQ(keys(KeyState::kDeactivated), std::size_t{kThreads} * kFiles);
}

}  // namespace
}  // namespace coffer
