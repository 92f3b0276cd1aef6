// Small files are old or new, whatever fails.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::HookedSyscalls;
using testing::SystemCall;
using testing::TempDir;

class ReplaceSmall : public ::testing::Test {
 protected:
  void SetUp() override { dir_ = *BackingDir::open_root(calls_, temp_.path()); }
  std::string content() {
    const auto before = std::exchange(calls_.before, nullptr);
    const auto read = dir_->read_small("f", 1 << 20);
    calls_.before = before;
    return read ? std::string(as_text(*read)) : read.error().message();
  }
  [[nodiscard]] long entries() const {
    return std::distance(std::filesystem::directory_iterator(temp_.path()), {});
  }

  TempDir temp_;
  HookedSyscalls calls_;
  std::shared_ptr<const BackingDir> dir_;
};

TEST_F(ReplaceSmall, WritesTheWholeFileWithItsMode) {
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("first, and longer"), 0640).ok());
  EXPECT_EQ(content(), "first, and longer");
  EXPECT_EQ(dir_->status_of("f")->st_mode & 07777, 0640U);
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("second"), 0600).ok());
  EXPECT_EQ(content(), "second");
  EXPECT_EQ(dir_->status_of("f")->st_mode & 07777, 0600U);
  ASSERT_TRUE(dir_->replace_small("f", Bytes(), 0600).ok());
  EXPECT_EQ(content(), "");
  EXPECT_EQ(entries(), 1);
}

TEST_F(ReplaceSmall, SyncsTheFileBeforeTheRenameAndTheDirectoryAfter) {
  std::vector<std::string> order;
  calls_.before = [&](const SystemCall& call) {
    if (call.what != "openat" && call.what != "unlinkat") order.emplace_back(call.what);
    return 0;
  };
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("x"), 0600).ok());
  EXPECT_EQ(order, (std::vector<std::string>{"pwrite", "fsync", "renameat2", "fsync"}));
}

TEST_F(ReplaceSmall, AnAbandonedTemporaryIsNoObstacle) {
  ASSERT_TRUE(dir_->create_file("f.new", 0400)->write(0, as_bytes("an old and longer one")).ok());
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("new"), 0600).ok());
  EXPECT_EQ(content(), "new");
  EXPECT_EQ(entries(), 1);
}

TEST_F(ReplaceSmall, ADirectoryInItsPlaceIsAnError) {
  ASSERT_TRUE(dir_->make_dir("f", 0700).ok());
  EXPECT_EQ(dir_->replace_small("f", as_bytes("x"), 0600).error().errno_value, EISDIR);
  EXPECT_EQ(entries(), 1);
}

/// Fails call number `failing` of a replacement; false if it has no so many calls.
class ReplaceSmallFaults : public ReplaceSmall, public ::testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(Errors, ReplaceSmallFaults, ::testing::Values(EIO, ENOSPC, EDQUOT, EROFS));

TEST_P(ReplaceSmallFaults, LeaveTheOldOrTheNewContent) {
  for (int failing = 0;; ++failing) {
    SCOPED_TRACE(::testing::Message() << "call " << failing);
    calls_.before = nullptr;
    ASSERT_TRUE(dir_->replace_small("f", as_bytes("old"), 0600).ok());
    int calls = 0;
    bool renamed = false;
    std::string failed;
    calls_.before = [&](const SystemCall& call) {
      if (calls++ == failing) {
        failed = call.what;
        return GetParam();
      }
      renamed = renamed || call.what == "renameat2";
      return 0;
    };
    const auto done = dir_->replace_small("f", as_bytes("new"), 0600);
    calls_.before = nullptr;
    if (failed.empty()) {
      ASSERT_TRUE(done.ok());
      ASSERT_GE(failing, 7) << "too few calls were seen";
      break;
    }
    ASSERT_FALSE(done.ok()) << failed;
    EXPECT_EQ(done.error().errno_value, GetParam()) << failed;
    EXPECT_EQ(content(), renamed ? "new" : "old") << failed;
    EXPECT_EQ(entries(), 1) << failed << " left its temporary";
  }
}

TEST_P(ReplaceSmallFaults, AShortWriteIsContinuedOrReported) {
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("old"), 0600).ok());
  calls_.limit = [](const SystemCall&) { return std::size_t{1}; };
  ASSERT_TRUE(dir_->replace_small("f", as_bytes("several writes"), 0600).ok());
  EXPECT_EQ(content(), "several writes");
  int writes = 0;
  calls_.before = [&](const SystemCall& call) {
    return call.what == "pwrite" && ++writes == 3 ? GetParam() : 0;
  };
  EXPECT_EQ(dir_->replace_small("f", as_bytes("never"), 0600).error().errno_value, GetParam());
  EXPECT_EQ(content(), "several writes");
}

}  // namespace
}  // namespace coffer
