#include "fs/backing/backing_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <functional>

#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

namespace stdfs = std::filesystem;
using testing::HookedSyscalls;
using testing::SystemCall;
using testing::TempDir;

class BackingDirTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = BackingDir::open_root(calls_, temp_.path());
    ASSERT_TRUE(opened.ok());
    dir_ = *opened;
  }
  void put(const std::string& name, std::string_view content = "content") {
    const auto file = dir_->create_file(name, 0600);
    ASSERT_TRUE(file.ok()) << name;
    ASSERT_TRUE(file->write(0, as_bytes(content)).ok());
  }
  std::string get(const std::string& name) {
    const auto content = dir_->read_small(name, 1 << 20);
    return content ? std::string(as_text(*content)) : content.error().message();
  }
  bool exists(const std::string& name) { return dir_->status_of(name).ok(); }

  TempDir temp_;
  HookedSyscalls calls_;
  std::shared_ptr<const BackingDir> dir_;
};

template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().errno_value;
}

TEST_F(BackingDirTest, RootHasToBeADirectory) {
  put("f");
  EXPECT_EQ(BackingDir::open_root(calls_, temp_.file("none")).error().code, Code::kNotFound);
  EXPECT_EQ(BackingDir::open_root(calls_, temp_.file("f")).error().code, Code::kInvalid);
  // Whoever names the store may do it by a symlink.
  stdfs::create_directory_symlink(temp_.path(), temp_.file("link"));
  EXPECT_TRUE(BackingDir::open_root(calls_, temp_.file("link")).ok());
}

TEST_F(BackingDirTest, FilesAreMadeOnceAndFound) {
  put("f", "one");
  EXPECT_EQ(errno_of(dir_->create_file("f", 0600)), EEXIST);
  EXPECT_EQ(get("f"), "one");
  const auto file = dir_->open_file("f", false);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->writable());
  EXPECT_EQ(errno_of(file->write(0, as_bytes("two"))), EBADF);
  ASSERT_TRUE(dir_->open_file("f", true)->write(0, as_bytes("two")).ok());
  EXPECT_EQ(get("f"), "two");
  ASSERT_TRUE(dir_->remove_file("f").ok());
  EXPECT_EQ(errno_of(dir_->open_file("f", true)), ENOENT);
}

TEST_F(BackingDirTest, DirectoriesNestAndStayOpenWhileRenamed) {
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  const auto inner = *dir_->open_dir("d");
  ASSERT_TRUE(inner->create_file("f", 0600).ok());
  ASSERT_TRUE(dir_->rename("d", *dir_, "e", 0).ok());
  EXPECT_TRUE(inner->status_of("f").ok());
  EXPECT_EQ(inner->status()->st_ino, dir_->status_of("e")->st_ino);
  EXPECT_EQ(errno_of(dir_->remove_dir("e")), ENOTEMPTY);
  ASSERT_TRUE(inner->remove_file("f").ok());
  ASSERT_TRUE(dir_->remove_dir("e").ok());
  EXPECT_EQ(errno_of(dir_->open_dir("e")), ENOENT);
}

TEST_F(BackingDirTest, RenameKnowsItsFlags) {
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  const auto inner = *dir_->open_dir("d");
  put("a", "A");
  put("b", "B");
  EXPECT_EQ(errno_of(dir_->rename("a", *dir_, "b", RENAME_NOREPLACE)), EEXIST);
  ASSERT_TRUE(dir_->rename("a", *dir_, "b", RENAME_EXCHANGE).ok());
  EXPECT_EQ(get("a") + get("b"), "BA");
  ASSERT_TRUE(dir_->rename("a", *inner, "c", 0).ok());
  EXPECT_EQ(as_text(*inner->read_small("c", 10)), "B");
  ASSERT_TRUE(inner->rename("c", *dir_, "b", 0).ok());
  EXPECT_EQ(get("b"), "B");
}

TEST_F(BackingDirTest, LinksSymlinksAndFifos) {
  put("f", "F");
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  const auto inner = *dir_->open_dir("d");
  ASSERT_TRUE(dir_->link("f", *inner, "g").ok());
  EXPECT_EQ(inner->status_of("g")->st_nlink, 2U);
  EXPECT_EQ(errno_of(dir_->link("f", *inner, "g")), EEXIST);
  const std::string target(4095, 't');
  ASSERT_TRUE(dir_->make_symlink("s", target).ok());
  EXPECT_EQ(*dir_->read_symlink("s"), target);
  EXPECT_EQ(errno_of(dir_->read_symlink("f")), EINVAL);
  ASSERT_TRUE(dir_->make_special("p", S_IFIFO | 0640, 0).ok());
  EXPECT_TRUE(S_ISFIFO(dir_->status_of("p")->st_mode));
}

TEST_F(BackingDirTest, ModeOwnerTimesAndFilesystem) {
  put("f");
  ASSERT_TRUE(dir_->set_mode("f", 04751).ok());
  EXPECT_EQ(dir_->status_of("f")->st_mode & 07777, 04751U);
  ASSERT_TRUE(dir_->set_owner("f", static_cast<uid_t>(-1), static_cast<gid_t>(-1)).ok());
  const struct timespec times[2] = {{.tv_sec = 5, .tv_nsec = 0}, {.tv_sec = 6, .tv_nsec = 7}};
  ASSERT_TRUE(dir_->set_times("f", times).ok());
  EXPECT_EQ(dir_->status_of("f")->st_mtim.tv_nsec, 7);
  EXPECT_GT(dir_->filesystem()->f_namemax, 0U);
  EXPECT_TRUE(dir_->sync().ok());
  EXPECT_TRUE(dir_->sync_filesystem().ok());
}

TEST_F(BackingDirTest, NamesOf255BytesWorkEverywhere) {
  std::string name(255, 'n');
  name[0] = '\x01';
  name[254] = '\xff';
  const std::string other = name.substr(0, 254) + "\xfe";
  put(name, "long");
  EXPECT_EQ(get(name), "long");
  EXPECT_TRUE(dir_->open_file(name, true).ok());
  ASSERT_TRUE(dir_->set_mode(name, 0640).ok());
  ASSERT_TRUE(dir_->rename(name, *dir_, other, 0).ok());
  ASSERT_TRUE(dir_->link(other, *dir_, name).ok());
  ASSERT_TRUE(dir_->remove_file(other).ok());
  ASSERT_TRUE(dir_->make_dir(other, 0700).ok());
  ASSERT_TRUE(dir_->open_dir(other).ok());
  ASSERT_TRUE(dir_->remove_dir(other).ok());
  ASSERT_TRUE(dir_->make_symlink(other, "t").ok());
  EXPECT_EQ(*dir_->read_symlink(other), "t");
  const std::string longer(256, 'n');
  EXPECT_EQ(errno_of(dir_->create_file(longer, 0600)), ENAMETOOLONG);
  EXPECT_EQ(errno_of(dir_->status_of(longer)), ENAMETOOLONG);
  EXPECT_EQ(errno_of(dir_->rename(name, *dir_, longer, 0)), ENAMETOOLONG);
}

TEST_F(BackingDirTest, AFifoInAFilesPlaceDoesNotHang) {
  ASSERT_TRUE(dir_->make_special("p", S_IFIFO | 0600, 0).ok());
  for (const bool writable : {false, true}) {
    // Opened or not, nothing waits, and nothing can be read at an offset.
    const auto file = dir_->open_file("p", writable);
    if (!file) continue;
    ByteVector out(1);
    EXPECT_EQ(errno_of(file->read(0, out)), ESPIPE);
  }
  EXPECT_FALSE(dir_->read_small("p", 10).ok());
  EXPECT_EQ(errno_of(dir_->create_file("p", 0600)), EEXIST);
}

TEST_F(BackingDirTest, SmallFilesHaveALimit) {
  put("f", "12345");
  EXPECT_EQ(as_text(*dir_->read_small("f", 5)), "12345");
  EXPECT_EQ(dir_->read_small("f", 4).error().code, Code::kInvalid);
  put("empty", "");
  EXPECT_TRUE(dir_->read_small("empty", 0)->empty());
  EXPECT_EQ(dir_->read_small("none", 5).error().code, Code::kNotFound);
}

TEST_F(BackingDirTest, WhatIsNoRegularFileIsNoSmallFile) {
  // Something else in its place is a wrong request or damage, never "the disk is broken".
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  ASSERT_TRUE(dir_->make_special("p", S_IFIFO | 0600, 0).ok());
  ASSERT_TRUE(dir_->make_special("socket", S_IFSOCK | 0600, 0).ok());
  ASSERT_TRUE(dir_->make_symlink("s", "d").ok());
  for (const char* const name : {"d", "p", "socket", "s"}) {
    const auto content = dir_->read_small(name, 10);
    ASSERT_FALSE(content.ok()) << name;
    EXPECT_EQ(content.error().code, Code::kInvalid) << name << ": " << content.error().message();
  }
}

/// Each operation on a directory, for the tests of all of them.
struct Operation {
  const char* call;  ///< the system call it begins with
  std::function<int(const BackingDir&)> run;
};

const std::vector<Operation>& operations() {
  static const struct timespec kTimes[2] = {};
  static const std::vector<Operation> all = {
      {"openat", [](const BackingDir& d) { return errno_of(d.open_dir("x")); }},
      {"openat", [](const BackingDir& d) { return errno_of(d.open_file("x", false)); }},
      {"openat", [](const BackingDir& d) { return errno_of(d.open_file("x", true)); }},
      {"openat", [](const BackingDir& d) { return errno_of(d.create_file("new", 0600)); }},
      {"openat", [](const BackingDir& d) { return errno_of(d.reader()); }},
      {"fstatat", [](const BackingDir& d) { return errno_of(d.status()); }},
      {"fstatat", [](const BackingDir& d) { return errno_of(d.status_of("x")); }},
      {"mkdirat", [](const BackingDir& d) { return errno_of(d.make_dir("new", 0700)); }},
      {"mknodat", [](const BackingDir& d) { return errno_of(d.make_special("n", S_IFIFO, 0)); }},
      {"symlinkat", [](const BackingDir& d) { return errno_of(d.make_symlink("new", "t")); }},
      {"readlinkat", [](const BackingDir& d) { return errno_of(d.read_symlink("x")); }},
      {"unlinkat", [](const BackingDir& d) { return errno_of(d.remove_file("x")); }},
      {"unlinkat", [](const BackingDir& d) { return errno_of(d.remove_dir("x")); }},
      {"renameat2", [](const BackingDir& d) { return errno_of(d.rename("x", d, "y", 0)); }},
      {"linkat", [](const BackingDir& d) { return errno_of(d.link("x", d, "y")); }},
      {"fchmodat", [](const BackingDir& d) { return errno_of(d.set_mode("x", 0)); }},
      {"fchownat", [](const BackingDir& d) { return errno_of(d.set_owner("x", 0, 0)); }},
      {"utimensat", [](const BackingDir& d) { return errno_of(d.set_times("x", kTimes)); }},
      {"openat", [](const BackingDir& d) { return errno_of(d.read_small("x", 1)); }},
      {"fsync", [](const BackingDir& d) { return errno_of(d.sync()); }},
      {"syncfs", [](const BackingDir& d) { return errno_of(d.sync_filesystem()); }},
      {"fstatvfs", [](const BackingDir& d) { return errno_of(d.filesystem()); }},
  };
  return all;
}

TEST_F(BackingDirTest, EveryFailureCarriesItsErrno) {
  put("x");
  for (const Operation& operation : operations()) {
    for (const int reason : {EIO, ENOMEM, EMFILE, ESTALE}) {
      bool called = false;
      calls_.before = [&](const SystemCall& call) {
        if (call.what != operation.call) return 0;
        called = true;
        return reason;
      };
      EXPECT_EQ(operation.run(*dir_), reason) << operation.call;
      EXPECT_TRUE(called) << operation.call;
    }
  }
  calls_.before = nullptr;
  EXPECT_EQ(get("x"), "content");
}

TEST_F(BackingDirTest, ADirectoryThatCannotBeSyncedIsNoError) {
  calls_.before = [](const SystemCall& call) { return call.what == "fsync" ? EINVAL : 0; };
  EXPECT_TRUE(dir_->sync().ok());
}

}  // namespace
}  // namespace coffer
