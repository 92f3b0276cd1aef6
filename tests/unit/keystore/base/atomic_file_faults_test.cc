// What becomes of files when the disk is full, the directory can't be read, or fsync fails. This
// program's own fsync stands before the C library's, so that calls can be seen and made to fail.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "keystore/base/atomic_file.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/base/file_content.h"

namespace {

/// Told of each fsync by the path behind the descriptor; a result other than 0 is its errno.
std::function<int(const std::string& path)> on_fsync;

}  // namespace

extern "C" int fsync(int fd) {
  if (on_fsync) {
    std::error_code ignored;
    const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored);
    if (const int failure = on_fsync(path.string()); failure != 0) {
      errno = failure;
      return -1;
    }
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace coffer {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::TempDir;

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

class AtomicFileFaults : public ::testing::Test {
 protected:
  AtomicFileFaults() : root_(fs::canonical(temp_.path()).string()) {}
  ~AtomicFileFaults() override { on_fsync = nullptr; }

  [[nodiscard]] std::string file(const std::string& name) const { return root_ + "/" + name; }

  TempDir temp_;
  std::string root_;
};

TEST_F(AtomicFileFaults, ReplaceSyncsTheContentThenTheName) {
  ASSERT_TRUE(create_file(file("a"), as_bytes("old"), 0600).ok());
  struct Sync {
    std::string path;
    std::string content;  ///< of the file, at that time
  };
  std::vector<Sync> syncs;
  on_fsync = [&](const std::string& path) {
    syncs.push_back({path, content_of(file("a"))});
    return 0;
  };
  ASSERT_TRUE(replace_file(file("a"), as_bytes("new"), 0600).ok());
  // The content reaches the disk under the temporary's name, while the old file still stands; the
  // directory once the new one does.
  ASSERT_GE(syncs.size(), 2U);
  EXPECT_EQ(syncs.front().path, file("a.new"));
  EXPECT_EQ(syncs.front().content, "old");
  EXPECT_EQ(syncs.back().path, root_);
  EXPECT_EQ(syncs.back().content, "new");
}

TEST_F(AtomicFileFaults, CreateSyncsTheContentThenTheName) {
  Names synced;
  on_fsync = [&](const std::string& path) {
    synced.push_back(path);
    return 0;
  };
  ASSERT_TRUE(create_file(file("a"), as_bytes("x"), 0600).ok());
  EXPECT_EQ(synced, (Names{file("a"), root_}));
}

TEST_F(AtomicFileFaults, MakeDirectoriesSyncsEachNewName) {
  // A key file is durable only if the directories made for it are.
  Names synced;
  on_fsync = [&](const std::string& path) {
    synced.push_back(path);
    return 0;
  };
  ASSERT_TRUE(make_directories(file("a/b/c"), 0700).ok());
  EXPECT_EQ(synced, (Names{root_, file("a"), file("a/b")}));
  synced.clear();
  ASSERT_TRUE(make_directories(file("a/b/c"), 0700).ok());
  EXPECT_EQ(synced, Names{});
}

TEST_F(AtomicFileFaults, AFileThatCantBeSyncedIsRemoved) {
  ASSERT_TRUE(create_file(file("a"), as_bytes("old"), 0600).ok());
  on_fsync = [&](const std::string& path) { return path == root_ ? 0 : EIO; };

  const auto replaced = replace_file(file("a"), as_bytes("new"), 0600);
  ASSERT_FALSE(replaced.ok());
  EXPECT_EQ(replaced.error().code, Code::kIo);
  EXPECT_EQ(replaced.error().errno_value, EIO);
  const auto created = create_file(file("b"), as_bytes("new"), 0600);
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.error().errno_value, EIO);

  EXPECT_EQ(names_in(root_), Names{"a"});
  EXPECT_EQ(content_of(file("a")), "old");
}

TEST_F(AtomicFileFaults, AFileWhoseNameCantBeSyncedIsRemoved) {
  ASSERT_TRUE(create_file(file("a"), as_bytes("old"), 0600).ok());
  on_fsync = [&](const std::string& path) { return path == root_ ? EIO : 0; };

  const auto created = create_file(file("b"), as_bytes("new"), 0600);
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.error().errno_value, EIO);
  const auto replaced = replace_file(file("a"), as_bytes("new"), 0600);
  ASSERT_FALSE(replaced.ok());
  EXPECT_EQ(replaced.error().errno_value, EIO);

  EXPECT_EQ(names_in(root_), Names{"a"});
}

TEST_F(AtomicFileFaults, ADirectoryThatKnowsNoFsyncIsNoError) {
  on_fsync = [&](const std::string& path) { return path == root_ ? EINVAL : 0; };
  EXPECT_TRUE(create_file(file("a"), as_bytes("x"), 0600).ok());
  EXPECT_TRUE(replace_file(file("a"), as_bytes("y"), 0600).ok());
  EXPECT_EQ(content_of(file("a")), "y");
}

TEST_F(AtomicFileFaults, AWriteCutShortLeavesTheOldFile) {
  ASSERT_TRUE(create_file(file("a"), as_bytes("old"), 0600).ok());
  // Writing past this limit fails with EFBIG after a short write.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  auto* const old_handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const ByteVector large(10'000, 'x');
  const auto replaced = replace_file(file("a"), large, 0600);
  const auto created = create_file(file("b"), large, 0600);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);

  ASSERT_FALSE(replaced.ok());
  EXPECT_EQ(replaced.error().code, Code::kExhausted);
  EXPECT_EQ(replaced.error().errno_value, EFBIG);
  EXPECT_NE(replaced.error().context.find(file("a")), std::string::npos);
  EXPECT_FALSE(created.ok());
  EXPECT_EQ(names_in(root_), Names{"a"});
  EXPECT_EQ(content_of(file("a")), "old");
}

TEST_F(AtomicFileFaults, AFullDiskLeavesTheOldFile) {
  if (!testing::is_root()) COFFER_SKIP("only root may mount a small filesystem");
  fs::create_directory(file("disk"));
  const auto disk = testing::Mount::tmpfs(file("disk"), 64 * 1024);
  if (disk == nullptr) COFFER_SKIP("mounting is not permitted here");
  ASSERT_TRUE(create_file(file("disk/a"), as_bytes("old"), 0600).ok());

  const ByteVector large(256 * 1024, 'x');
  const auto replaced = replace_file(file("disk/a"), large, 0600);
  ASSERT_FALSE(replaced.ok());
  EXPECT_EQ(replaced.error().code, Code::kNoSpace);
  EXPECT_EQ(replaced.error().errno_value, ENOSPC);
  EXPECT_FALSE(create_file(file("disk/b"), large, 0600).ok());
  EXPECT_EQ(names_in(file("disk")), Names{"a"});
  EXPECT_EQ(content_of(file("disk/a")), "old");
  EXPECT_TRUE(replace_file(file("disk/a"), as_bytes("fits"), 0600).ok());
}

TEST_F(AtomicFileFaults, AReadOnlyMountIsSaidToBeOne) {
  if (!testing::is_root()) COFFER_SKIP("only root may mount");
  fs::create_directory(file("disk"));
  ASSERT_TRUE(create_file(file("disk/a"), as_bytes("old"), 0600).ok());
  const auto mounted = testing::Mount::read_only(file("disk"));
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  EXPECT_EQ(create_file(file("disk/b"), {}, 0600).error().code, Code::kReadOnly);
  EXPECT_EQ(replace_file(file("disk/a"), {}, 0600).error().code, Code::kReadOnly);
  EXPECT_EQ(make_directories(file("disk/c/d"), 0700).error().code, Code::kReadOnly);
  EXPECT_TRUE(make_directories(file("disk"), 0700).ok());
}

TEST_F(AtomicFileFaults, WithoutPermission) {
  if (!testing::is_root()) COFFER_SKIP("only root can act as another user");
  ASSERT_EQ(::chmod(root_.c_str(), 0755), 0);
  ASSERT_TRUE(create_file(file("secret"), as_bytes("x"), 0600).ok());
  const testing::AsNobody nobody;
  EXPECT_EQ(create_file(file("a"), {}, 0600).error().code, Code::kDenied);
  EXPECT_EQ(replace_file(file("secret"), {}, 0600).error().code, Code::kDenied);
  EXPECT_EQ(read_small_file(file("secret"), 9).error().code, Code::kDenied);
  EXPECT_EQ(make_directories(file("a/b"), 0700).error().code, Code::kDenied);
  // Parents that can't be written but are there are no obstacle.
  EXPECT_TRUE(make_directories(root_, 0700).ok());
}

}  // namespace
}  // namespace coffer
