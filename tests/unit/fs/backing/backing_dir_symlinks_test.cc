// A symlink planted in the backing never leads anywhere.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "fs/backing/backing_dir.h"
#include "keystore/base/atomic_file.h"
#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

namespace stdfs = std::filesystem;
using testing::HookedSyscalls;
using testing::SystemCall;
using testing::TempDir;

class BackingDirSymlinks : public ::testing::Test {
 protected:
  void SetUp() override {
    stdfs::create_directory(temp_.file("backing"));
    stdfs::create_directory(temp_.file("outside"));
    ASSERT_TRUE(replace_file(outside("file"), as_bytes("precious"), 0604).ok());
    stdfs::create_symlink(outside("file"), temp_.file("backing/to_file"));
    stdfs::create_symlink(outside(""), temp_.file("backing/to_dir"));
    stdfs::create_symlink(outside("new"), temp_.file("backing/to_nothing"));
    dir_ = *BackingDir::open_root(calls_, temp_.file("backing"));
    before_ = status_outside();
  }
  void TearDown() override {
    const struct stat now = status_outside();
    EXPECT_EQ(now.st_mode, before_.st_mode);
    EXPECT_EQ(now.st_nlink, before_.st_nlink);
    EXPECT_EQ(now.st_mtim.tv_sec, before_.st_mtim.tv_sec);
    EXPECT_EQ(now.st_uid, before_.st_uid);
    EXPECT_EQ(as_text(*read_small_file(outside("file"), 100)), "precious");
    EXPECT_FALSE(stdfs::exists(outside("new")));
    EXPECT_EQ(std::distance(stdfs::directory_iterator(outside("")), {}), 1);
  }
  [[nodiscard]] std::string outside(const std::string& name) const {
    return temp_.file("outside/" + name);
  }
  [[nodiscard]] struct stat status_outside() const {
    struct stat status {};
    EXPECT_EQ(::lstat(outside("file").c_str(), &status), 0);
    return status;
  }

  TempDir temp_;
  HookedSyscalls calls_;
  std::shared_ptr<const BackingDir> dir_;
  struct stat before_ {};
};

TEST_F(BackingDirSymlinks, AreNotOpened) {
  for (const char* const name : {"to_file", "to_dir", "to_nothing"}) {
    for (const bool writable : {false, true}) {
      const auto file = dir_->open_file(name, writable);
      ASSERT_FALSE(file.ok()) << name;
      EXPECT_EQ(file.error().errno_value, ELOOP) << name;
    }
    EXPECT_EQ(dir_->open_dir(name).error().errno_value, ENOTDIR) << name;
    EXPECT_EQ(dir_->create_file(name, 0600).error().errno_value, EEXIST) << name;
    EXPECT_FALSE(dir_->read_small(name, 100).ok()) << name;
  }
}

TEST_F(BackingDirSymlinks, AreWhatIsChangedThemselves) {
  EXPECT_TRUE(S_ISLNK(dir_->status_of("to_file")->st_mode));
  const auto mode = dir_->set_mode("to_file", 0777);
  EXPECT_FALSE(mode.ok());
  EXPECT_EQ(mode.error().errno_value, EOPNOTSUPP);
  const struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  ASSERT_TRUE(dir_->set_times("to_file", times).ok());
  EXPECT_EQ(dir_->status_of("to_file")->st_mtim.tv_sec, 1);
  if (::geteuid() == 0) {
    ASSERT_TRUE(dir_->set_owner("to_file", 12, 34).ok());
    EXPECT_EQ(dir_->status_of("to_file")->st_uid, 12U);
  }
  ASSERT_TRUE(dir_->link("to_file", *dir_, "another").ok());
  EXPECT_TRUE(S_ISLNK(dir_->status_of("another")->st_mode));
  ASSERT_TRUE(dir_->rename("to_file", *dir_, "renamed", 0).ok());
  EXPECT_EQ(*dir_->read_symlink("renamed"), outside("file"));
  EXPECT_EQ(dir_->remove_dir("to_dir").error().errno_value, ENOTDIR);
  ASSERT_TRUE(dir_->remove_file("renamed").ok());
  ASSERT_TRUE(dir_->remove_file("to_dir").ok());
}

TEST_F(BackingDirSymlinks, AreReplacedByASmallFile) {
  ASSERT_TRUE(dir_->replace_small("to_file", as_bytes("mine"), 0600).ok());
  EXPECT_TRUE(S_ISREG(dir_->status_of("to_file")->st_mode));
  // Also where its temporary would go.
  stdfs::create_symlink(outside("file"), temp_.file("backing/name.new"));
  ASSERT_TRUE(dir_->replace_small("name", as_bytes("mine"), 0600).ok());
  EXPECT_EQ(as_text(*dir_->read_small("name", 10)), "mine");
  EXPECT_FALSE(dir_->status_of("name.new").ok());
}

TEST_F(BackingDirSymlinks, NoOpenLacksTheFlags) {
  // What could slip in between two calls is refused by the flags of the one that opens.
  int opened = 0;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "openat") {
      ++opened;
      EXPECT_NE(call.flags & O_CLOEXEC, 0) << call.name;
      if (call.name != ".") {
        EXPECT_NE(call.flags & O_NOFOLLOW, 0) << call.name;
      }
      if ((call.flags & (O_CREAT | O_PATH | O_DIRECTORY)) == 0) {
        EXPECT_NE(call.flags & O_NONBLOCK, 0);
      }
      if ((call.flags & O_CREAT) != 0) {
        EXPECT_NE(call.flags & O_EXCL, 0);
      }
    }
    if (call.what == "fstatat" && !call.name.empty()) {
      EXPECT_NE(call.flags & AT_SYMLINK_NOFOLLOW, 0);
    }
    if (call.what == "linkat") {
      EXPECT_EQ(call.flags & AT_SYMLINK_FOLLOW, 0);
    }
    return 0;
  };
  (void)dir_->open_file("x", true);
  (void)dir_->open_dir("x");
  (void)dir_->create_file("x", 0600);
  (void)dir_->status_of("x");
  (void)dir_->link("x", *dir_, "y");
  (void)dir_->replace_small("z", as_bytes("z"), 0600);
  (void)dir_->read_small("z", 10);
  (void)dir_->reader();
  EXPECT_GE(opened, 7);
}

}  // namespace
}  // namespace coffer
