// Making, removing and listing directories.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class DirectoriesTest : public StoreTest {};

TEST_F(DirectoriesTest, MadeNestedAndFoundAgain) {
  ASSERT_EQ(outcome_of(me().make_directory("/a", 0750)), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/a/b")), kOk);
  ASSERT_EQ(outcome_of(me().put("/a/b/c", "deep")), kOk);
  store_.reopen();
  EXPECT_EQ(me().status("/a")->st_mode, static_cast<mode_t>(S_IFDIR | 0750));
  EXPECT_EQ(me().get("/a/b/c").value(), "deep");
}

TEST_F(DirectoriesTest, MakingWhatIsThere) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("x", "/link")), kOk);
  for (const char* const path : {"/dir", "/file", "/link"}) {
    EXPECT_EQ(outcome_of(me().make_directory(path)), "EEXIST") << path;
    EXPECT_EQ(outcome_of(me().make_node(path, S_IFIFO | 0600)), "EEXIST") << path;
    EXPECT_EQ(outcome_of(me().make_node(path, S_IFREG | 0600)), "EEXIST") << path;
    EXPECT_EQ(outcome_of(me().make_symlink("x", path)), "EEXIST") << path;
  }
}

TEST_F(DirectoriesTest, NodesOfEachKind) {
  ASSERT_EQ(outcome_of(me().make_node("/fifo", S_IFIFO | 0640)), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/socket", S_IFSOCK | 0600)), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/file", S_IFREG | 0600)), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/plain", 0644)), kOk);
  EXPECT_TRUE(S_ISFIFO(me().status("/fifo")->st_mode));
  EXPECT_TRUE(S_ISSOCK(me().status("/socket")->st_mode));
  EXPECT_EQ(me().status("/file")->st_mode, static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(me().get("/file").value(), "");
  EXPECT_EQ(me().get("/plain").value(), "");
  if (!is_root()) COFFER_SKIP("only root makes devices");
  ASSERT_EQ(outcome_of(me().make_node("/null", S_IFCHR | 0666, makedev(1, 3))), kOk);
  EXPECT_TRUE(S_ISCHR(me().status("/null")->st_mode));
  EXPECT_EQ(me().status("/null")->st_rdev, makedev(1, 3));
}

TEST_F(DirectoriesTest, Removing) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().put("/dir/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("dir", "/link")), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), "ENOTEMPTY");
  EXPECT_EQ(outcome_of(me().remove_directory("/file")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().remove_directory("/link")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().remove_directory("/missing")), "ENOENT");
  EXPECT_EQ(outcome_of(me().unlink("/dir")), "EISDIR");
  ASSERT_EQ(outcome_of(me().unlink("/dir/file")), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
  EXPECT_EQ(outcome_of(me().status("/dir")), "ENOENT");
  EXPECT_EQ(outcome_of(me().make_directory("/dir")), kOk) << "the name is free again";
  EXPECT_THAT(me().list("/dir").value(), IsEmpty());
}

TEST_F(DirectoriesTest, ADirectoryOfLongNamesIsNotEmpty) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  const std::string long_name(250, 'n');
  ASSERT_EQ(outcome_of(me().put("/dir/" + long_name, "")), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), "ENOTEMPTY");
  ASSERT_EQ(outcome_of(me().unlink("/dir/" + long_name)), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
}

TEST_F(DirectoriesTest, GarbageOfTheFormatGoesWithItsDirectory) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  const std::string dir =
      store_.backing(stored_name(store_.backing(), me().status("/dir")->st_ino));
  std::ofstream(dir + "/.coffer.name.AAAA") << "garbage";
  std::ofstream(dir + "/.coffer.dir.new") << "garbage";
  EXPECT_THAT(me().list("/dir").value(), IsEmpty());
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
}

TEST_F(DirectoriesTest, ForeignEntriesAreNoneOfOursToRemove) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  const std::string dir =
      store_.backing(stored_name(store_.backing(), me().status("/dir")->st_ino));
  std::ofstream(dir + "/somebody-elses") << "data";
  EXPECT_THAT(me().list("/dir").value(), IsEmpty());
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), "ENOTEMPTY");
  allow_flaws();
}

TEST_F(DirectoriesTest, ModesThatForbidTheirOwnerDoNotBindTheFilesystem) {
  // The mode is for the callers and checked by the kernel; removing a directory needs none of its
  // bits.
  if (!is_root()) COFFER_SKIP("changes its user");
  store_.grant(kRootScope, {});
  if (::chmod(store_.beside("").c_str(), 0777) != 0) FAIL();
  ASSERT_EQ(::system(("chown -R 65534:65534 " + store_.beside("")).c_str()), 0);
  const AsNobody nobody;
  for (const mode_t mode : {0U, 0300U, 0400U, 0500U, 0555U, 0666U}) {
    SCOPED_TRACE(mode);
    ASSERT_EQ(outcome_of(me().make_directory("/dir", mode)), kOk);
    EXPECT_EQ(me().status("/dir")->st_mode & 07777, mode);
    EXPECT_EQ(outcome_of(me().rename("/dir", "/dir2")), kOk);
    EXPECT_EQ(me().status("/dir2")->st_mode & 07777, mode);
    EXPECT_EQ(outcome_of(me().remove_directory("/dir2")), kOk);
    EXPECT_THAT(backing_names(store_.backing(".coffer/tmp")), IsEmpty());
  }
}

class ListingTest : public StoreTest {
 protected:
  std::vector<std::string> listed(DirectoryHandle& handle, std::int64_t from = 0) {
    std::vector<std::string> names;
    EXPECT_TRUE(vfs().list(handle, from, [&](const ListedEntry& entry) {
      names.emplace_back(entry.name);
      return true;
    }));
    return names;
  }
};

TEST_F(ListingTest, EmptyDirectoriesHaveDotAndDotDot) {
  const auto handle = me().open_directory("/").value();
  EXPECT_THAT(listed(*handle), UnorderedElementsAre(".", ".."));
  EXPECT_THAT(listed(*handle), UnorderedElementsAre(".", "..")) << "from the start again";
}

TEST_F(ListingTest, OfWhatIsNoDirectory) {
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("x", "/link")), kOk);
  EXPECT_EQ(outcome_of(me().open_directory("/file")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().open_directory("/link")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().open_directory("/missing")), "ENOENT");
}

TEST_F(ListingTest, EachNameOnceWhateverTheSteps) {
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < 150; ++i) {
    const std::string name =
        i % 10 == 0 ? std::string(200, 'l') + std::to_string(i) : "file" + std::to_string(i);
    ASSERT_EQ(outcome_of(me().make_node("/" + name, S_IFIFO | 0600)), kOk);
    expected.insert(name);
  }
  const auto handle = me().open_directory("/").value();
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
    std::multiset<std::string> seen;
    std::int64_t position = 0;
    while (true) {
      // The entry that did not fit is given again: as a reader's buffer overflows.
      std::size_t taken = 0;
      ASSERT_TRUE(vfs().list(*handle, position, [&](const ListedEntry& entry) {
        if (taken == step) return false;
        ++taken;
        seen.emplace(entry.name);
        position = entry.next;
        return true;
      }));
      if (taken == 0) break;
    }
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), expected);
    EXPECT_EQ(seen.size(), expected.size());
  }
}

TEST_F(ListingTest, PositionsHoldWhileEntriesComeAndGo) {
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(outcome_of(me().make_node("/f" + std::to_string(i), S_IFIFO | 0600)), kOk);
  }
  const auto handle = me().open_directory("/").value();
  std::set<std::string> seen;
  std::int64_t position = 0;
  std::size_t taken = 0;
  ASSERT_TRUE(vfs().list(*handle, 0, [&](const ListedEntry& entry) {
    if (++taken > 20) return false;
    seen.emplace(entry.name);
    position = entry.next;
    return true;
  }));
  // What was seen goes, as rm -r does it.
  for (const std::string& name : seen) {
    if (name == "." || name == "..") continue;
    ASSERT_EQ(outcome_of(me().unlink("/" + name)), kOk);
  }
  for (const std::string& name : listed(*handle, position)) {
    EXPECT_TRUE(seen.insert(name).second) << name << " twice";
  }
  EXPECT_EQ(seen.size(), 42U);
}

TEST_F(ListingTest, ForeignEntriesAreHiddenAndReportedWhereAsked) {
  ASSERT_EQ(outcome_of(me().put("/mine", "")), kOk);
  ASSERT_EQ(outcome_of(me().put("/" + std::string(250, 'm'), "")), kOk);
  std::ofstream(store_.backing("README")) << "not encoded";
  std::ofstream(store_.backing("AAAAAAAAAAAAAAAAAAAAAAAA")) << "does not authenticate";
  std::ofstream(store_.backing(".coffer.long.AAAA")) << "no sidecar";
  std::ofstream(store_.backing(".coffer.name.BBBB")) << "a sidecar of nothing";
  const auto handle = me().open_directory("/").value();
  EXPECT_THAT(listed(*handle), UnorderedElementsAre(".", "..", "mine", std::string(250, 'm')));
  std::vector<std::string> foreign;
  ASSERT_TRUE(vfs().list(
      *handle, 0,
      [&](const ListedEntry& entry) {
        if (entry.foreign) foreign.emplace_back(entry.name);
        return true;
      },
      true));
  EXPECT_THAT(foreign,
              UnorderedElementsAre("README", "AAAAAAAAAAAAAAAAAAAAAAAA", ".coffer.long.AAAA"));
  allow_flaws();
}

TEST_F(ListingTest, AnAlteredSidecarHidesItsEntryAndNoOther) {
  const std::string long_name(250, 'm');
  ASSERT_EQ(outcome_of(me().put("/mine", "")), kOk);
  ASSERT_EQ(outcome_of(me().put("/" + long_name, "")), kOk);
  std::string sidecar;
  for (const std::string& name : backing_names(store_.backing())) {
    if (name.starts_with(".coffer.name.")) sidecar = store_.backing(name);
  }
  const ByteVector before = file_bytes(sidecar);
  allow_flaws();
  std::ofstream(sidecar, std::ios::app) << "x";
  EXPECT_THAT(me().list("/").value(), ElementsAre("mine"));
  std::ofstream(sidecar, std::ios::app) << std::string(100000, 'x');
  EXPECT_THAT(me().list("/").value(), ElementsAre("mine"));
  ASSERT_EQ(::unlink(sidecar.c_str()), 0);
  EXPECT_THAT(me().list("/").value(), ElementsAre("mine"));
  ASSERT_EQ(::mkdir(sidecar.c_str(), 0700), 0);
  EXPECT_THAT(me().list("/").value(), ElementsAre("mine"));
  EXPECT_EQ(outcome_of(me().status("/" + long_name)), kOk) << "who knows the name finds it";
}

TEST_F(ListingTest, WhatIsListedCanBeLookedUpThroughTheHandle) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const auto handle = me().open_directory("/").value();
  const Entry entry = vfs().lookup_listed(*handle, "file").value();
  EXPECT_EQ(entry.attributes.st_size, 7);
  const HeldInode held(vfs(), entry.inode);
  const HeldInode again = me().find("/file").value();
  EXPECT_EQ(again.id(), entry.inode);
  EXPECT_EQ(outcome_of(vfs().lookup_listed(*handle, "missing")), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().sync_directory(*handle)), kOk);
}

TEST_F(ListingTest, ItIsSyncedWhateverHasTheNamesOfItsNewFilesNow) {
  const auto handle = me().open_directory("/").value();
  const Who who(Caller::self());
  for (const mode_t type : std::initializer_list<mode_t>{S_IFIFO, S_IFSOCK, S_IFDIR, S_IFLNK}) {
    const std::string name = std::to_string(type);
    ASSERT_EQ(outcome_of(me().put("/" + name, "content")), kOk);
    ASSERT_EQ(outcome_of(me().unlink("/" + name)), kOk);
    const auto made = type == S_IFDIR   ? vfs().make_directory(who, kRootInode, name, 0700)
                      : type == S_IFLNK ? vfs().make_symlink(who, kRootInode, name, "target")
                                        : vfs().make_node(who, kRootInode, name, type | 0600, 0);
    ASSERT_EQ(outcome_of(made), kOk);
    vfs().forget(made->inode, 1);
    EXPECT_EQ(outcome_of(vfs().sync_directory(*handle)), kOk) << name;
  }
}

TEST_F(ListingTest, ARemovedDirectoryThatIsOpenIsEmpty) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  const HeldInode dir = me().find("/dir").value();
  const auto handle = vfs().open_directory(Who(Caller::self()), dir.id()).value();
  ASSERT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
  for (const std::string& name : listed(*handle)) {
    EXPECT_TRUE(name == "." || name == "..") << name;
  }
}

TEST_F(ListingTest, AListingSurvivesTheRenameOfItsDirectory) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().put("/dir/file", "")), kOk);
  const HeldInode dir = me().find("/dir").value();
  const auto handle = vfs().open_directory(Who(Caller::self()), dir.id()).value();
  ASSERT_EQ(outcome_of(me().rename("/dir", "/other")), kOk);
  EXPECT_THAT(listed(*handle), UnorderedElementsAre(".", "..", "file"));
}

/// With room for two directories at once: every use of a third opens one anew.
class FewDirectoriesTest : public StoreTest {};

TEST_F(FewDirectoriesTest, DirectoriesAreFoundAgainWhereverTheyWereMoved) {
  store_.reopen({.directory_cache = 2});
  std::string path;
  for (int depth = 0; depth < 6; ++depth) {
    path += "/d" + std::to_string(depth);
    ASSERT_EQ(outcome_of(me().make_directory(path)), kOk);
  }
  ASSERT_EQ(outcome_of(me().put(path + "/file", "content")), kOk);
  const HeldInode deep = me().find(path).value();
  ASSERT_EQ(outcome_of(me().rename("/d0/d1", "/moved")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/d0/d1")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/moved/d2", "/d0/d1/d2")), kOk);
  const Entry entry = vfs().lookup(Who(Caller::self()), deep.id(), "file").value();
  const HeldInode held(vfs(), entry.inode);
  EXPECT_EQ(vfs().path(entry.inode), "/d0/d1/d2/d3/d4/d5/file");
  EXPECT_EQ(me().get("/d0/d1/d2/d3/d4/d5/file").value(), "content");
}

}  // namespace
}  // namespace coffer
