// A daemon that is not root owns the backing files, whose modes are those of the plaintext files: a
// mode that forbids the owner something must not stop it.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "fs/backing/backing_dir.h"
#include "tests/support/fs_syscalls.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::AsNobody;
using testing::HookedSyscalls;
using testing::is_root;
using testing::kNobody;
using testing::SystemCall;
using testing::TempDir;

class BackingDirModes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) COFFER_SKIP("becoming another user needs root");
    ASSERT_EQ(::chown(temp_.path().c_str(), kNobody, kNobody), 0);
    dir_ = *BackingDir::open_root(calls_, temp_.path());
    unprivileged_.emplace();
  }
  void TearDown() override {
    calls_.before = nullptr;
    unprivileged_.reset();
  }
  void put(const std::string& name, mode_t mode) {
    const auto file = dir_->create_file(name, 0600);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write(0, as_bytes("before")).ok());
    ASSERT_TRUE(file->set_mode(mode).ok());
  }
  mode_t mode_of(const std::string& name) { return dir_->status_of(name)->st_mode & 07777; }

  TempDir temp_;
  HookedSyscalls calls_;
  std::shared_ptr<const BackingDir> dir_;
  std::optional<AsNobody> unprivileged_;
};

TEST_F(BackingDirModes, FilesOpenWhateverTheirModeAndKeepIt) {
  for (const mode_t mode : {00000U, 00200U, 00400U, 00444U, 00555U, 00070U, 00007U, 04400U, 02550U,
                            01000U, 00644U, 00777U}) {
    SCOPED_TRACE(mode);
    put("f", mode);
    const auto readable = dir_->open_file("f", false);
    ASSERT_TRUE(readable.ok()) << readable.error().message();
    ByteVector out(6);
    EXPECT_EQ(*readable->read(0, out), 6U);
    EXPECT_EQ(as_text(out), "before");
    EXPECT_EQ(mode_of("f"), mode);
    const auto writable = dir_->open_file("f", true);
    ASSERT_TRUE(writable.ok()) << writable.error().message();
    EXPECT_TRUE(writable->write(0, as_bytes("after")).ok());
    // Writing takes set-id bits away, as it does on any file; opening did not.
    EXPECT_EQ(mode_of("f") & 01777, mode & 01777);
    EXPECT_EQ(as_text(*dir_->read_small("f", 10)), "aftere");
    ASSERT_TRUE(dir_->remove_file("f").ok());
  }
}

TEST_F(BackingDirModes, AnOpenFileBecomesWritableWhateverItsMode) {
  for (const mode_t mode : {00000U, 00400U, 00444U, 00555U, 00644U}) {
    put("f", mode);
    auto file = dir_->open_file("f", false);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->make_writable().ok());
    ASSERT_TRUE(file->write(0, as_bytes("after")).ok());
    EXPECT_EQ(mode_of("f"), mode);
    ASSERT_TRUE(dir_->remove_file("f").ok());
  }
}

TEST_F(BackingDirModes, OthersFilesAreRefusedAndLeftAlone) {
  unprivileged_.reset();
  put("theirs", 0000);
  put("readable", 0444);
  unprivileged_.emplace();
  auto readable = dir_->open_file("readable", false);
  ASSERT_TRUE(readable.ok());
  EXPECT_EQ(readable->make_writable().error().errno_value, EACCES);
  for (const bool writable : {false, true}) {
    const auto file = dir_->open_file("theirs", writable);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.error().code, Code::kDenied);
    EXPECT_EQ(file.error().errno_value, EACCES);
  }
  EXPECT_FALSE(dir_->open_file("readable", true).ok());
  EXPECT_EQ(mode_of("theirs"), 0000U);
  EXPECT_EQ(mode_of("readable"), 0444U);
}

TEST_F(BackingDirModes, OnlyRegularFilesGetALoan) {
  ASSERT_TRUE(dir_->make_special("p", S_IFIFO | 0400, 0).ok());
  ASSERT_TRUE(dir_->make_dir("d", 0000).ok());
  int changed = 0;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "fchmodat") ++changed;
    return 0;
  };
  EXPECT_FALSE(dir_->open_file("p", true).ok());
  EXPECT_FALSE(dir_->open_file("d", false).ok());
  EXPECT_EQ(changed, 0);
}

TEST_F(BackingDirModes, AFailedOpeningGivesTheModeBack) {
  put("f", 0400);
  int opens = 0;
  calls_.before = [&](const SystemCall& call) {
    return call.what == "openat" && call.name == "f" && ++opens == 2 ? ENFILE : 0;
  };
  const auto file = dir_->open_file("f", true);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().errno_value, ENFILE);
  EXPECT_EQ(opens, 2);
  EXPECT_EQ(mode_of("f"), 0400U);
}

TEST_F(BackingDirModes, AModeThatCannotBeGivenBackIsAnError) {
  put("f", 0400);
  int changes = 0;
  calls_.before = [&](const SystemCall& call) {
    return call.what == "fchmodat" && ++changes == 2 ? EIO : 0;
  };
  const auto file = dir_->open_file("f", true);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().errno_value, EIO);
}

TEST_F(BackingDirModes, NoLoanWhereTheDirectoryIsTheObstacle) {
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  const auto inner = *dir_->open_dir("d");
  const auto made = inner->create_file("f", 0600);
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(dir_->set_mode("d", 0000).ok());
  const auto file = inner->open_file("f", true);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().errno_value, EACCES);
}

TEST_F(BackingDirModes, ManyOpenOneAtOnce) {
  // A loan that two take at once must neither stay on the file nor refuse one of them.
  put("f", 0000);
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) {
        auto file = dir_->open_file("f", t == 0);
        if (!file || (t == 1 && !file->make_writable())) failed.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed.load(), 0);
  EXPECT_EQ(mode_of("f"), 0000U);
}

}  // namespace
}  // namespace coffer
