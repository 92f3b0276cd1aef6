// rename, in all its forms.

#include <fcntl.h>
#include <sys/stat.h>

#include <functional>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// What can lie in a directory.
enum class Kind { kFile, kEmptyDir, kFullDir, kSymlink, kLongSymlink, kFifo };
constexpr std::array kKinds = {Kind::kFile,    Kind::kEmptyDir,    Kind::kFullDir,
                               Kind::kSymlink, Kind::kLongSymlink, Kind::kFifo};

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kFile:
      return "file";
    case Kind::kEmptyDir:
      return "empty directory";
    case Kind::kFullDir:
      return "full directory";
    case Kind::kSymlink:
      return "symlink";
    case Kind::kLongSymlink:
      return "long symlink";
    case Kind::kFifo:
      return "fifo";
  }
  return "";
}

bool is_dir(Kind kind) { return kind == Kind::kEmptyDir || kind == Kind::kFullDir; }

class RenameTest : public StoreTest {
 protected:
  void make(Kind kind, const std::string& path, const std::string& mark) {
    SCOPED_TRACE(path + ", a " + name_of(kind));
    switch (kind) {
      case Kind::kFile:
        ASSERT_EQ(outcome_of(me().put(path, mark)), kOk);
        break;
      case Kind::kEmptyDir:
        ASSERT_EQ(outcome_of(me().make_directory(path)), kOk);
        break;
      case Kind::kFullDir:
        ASSERT_EQ(outcome_of(me().make_directory(path)), kOk);
        ASSERT_EQ(outcome_of(me().put(path + "/inner", mark)), kOk);
        break;
      case Kind::kSymlink:
        ASSERT_EQ(outcome_of(me().make_symlink(mark, path)), kOk);
        break;
      case Kind::kLongSymlink:
        ASSERT_EQ(outcome_of(me().make_symlink(mark + std::string(4000, 'l'), path)), kOk);
        break;
      case Kind::kFifo:
        ASSERT_EQ(outcome_of(me().make_node(path, S_IFIFO | 0600)), kOk);
        break;
    }
  }

  void check(Kind kind, const std::string& path, const std::string& mark) {
    SCOPED_TRACE(path + ", a " + name_of(kind));
    const auto status = me().status(path);
    ASSERT_EQ(outcome_of(status), kOk);
    switch (kind) {
      case Kind::kFile:
        EXPECT_EQ(me().get(path).value(), mark);
        break;
      case Kind::kEmptyDir:
        EXPECT_THAT(me().list(path).value(), IsEmpty());
        break;
      case Kind::kFullDir:
        EXPECT_EQ(me().get(path + "/inner").value(), mark);
        break;
      case Kind::kSymlink:
        EXPECT_EQ(me().read_symlink(path).value(), mark);
        break;
      case Kind::kLongSymlink:
        EXPECT_EQ(me().read_symlink(path).value(), mark + std::string(4000, 'l'));
        break;
      case Kind::kFifo:
        EXPECT_TRUE(S_ISFIFO(status->st_mode));
        break;
    }
  }

  void clear(Kind kind, const std::string& path) {
    if (kind == Kind::kFullDir) {
      ASSERT_EQ(outcome_of(me().unlink(path + "/inner")), kOk);
    }
    ASSERT_EQ(outcome_of(is_dir(kind) ? me().remove_directory(path) : me().unlink(path)), kOk);
  }

  /// Names short and long, in one directory and in two.
  const std::string long_ = std::string(250, 'n');
  const std::vector<std::pair<std::string, std::string>> ways_ = {
      {"/a/one", "/a/two"},
      {"/a/one", "/b/one"},
      {"/a/" + long_, "/a/two"},
      {"/a/one", "/b/" + long_},
      {"/a/" + long_, "/b/" + long_ + "2"},
  };
};

TEST_F(RenameTest, EachKindToAFreeName) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  for (const Kind kind : kKinds) {
    for (const unsigned flags : {0U, static_cast<unsigned>(RENAME_NOREPLACE)}) {
      for (const auto& [from, to] : ways_) {
        make(kind, from, "mark");
        ASSERT_EQ(outcome_of(me().rename(from, to, flags)), kOk);
        EXPECT_EQ(outcome_of(me().status(from)), "ENOENT");
        check(kind, to, "mark");
        EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
        clear(kind, to);
      }
    }
  }
}

TEST_F(RenameTest, EachKindIsFoundAfterReopening) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  int number = 0;
  for (const Kind kind : kKinds) {
    const std::string name = "/n" + std::to_string(number++);
    make(kind, "/a" + name, "mark" + name);
    ASSERT_EQ(outcome_of(me().rename("/a" + name, "/b" + name)), kOk);
    ASSERT_EQ(outcome_of(me().rename("/b" + name, "/b" + name + long_)), kOk);
  }
  store_.reopen();
  number = 0;
  for (const Kind kind : kKinds) {
    const std::string name = "/n" + std::to_string(number++);
    check(kind, "/b" + name + long_, "mark" + name);
  }
}

TEST_F(RenameTest, OverEachKind) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  for (const Kind moved : kKinds) {
    for (const Kind replaced : kKinds) {
      SCOPED_TRACE(std::string(name_of(moved)) + " over " + name_of(replaced));
      std::string expected = kOk;
      if (is_dir(moved) && !is_dir(replaced)) expected = "ENOTDIR";
      if (!is_dir(moved) && is_dir(replaced)) expected = "EISDIR";
      if (is_dir(moved) && replaced == Kind::kFullDir) expected = "ENOTEMPTY";
      for (const auto& [from, to] : ways_) {
        make(moved, from, "moved");
        make(replaced, to, "replaced");
        EXPECT_EQ(outcome_of(me().rename(from, to, RENAME_NOREPLACE)), "EEXIST");
        EXPECT_EQ(outcome_of(me().rename(from, to)), expected);
        if (expected == kOk) {
          EXPECT_EQ(outcome_of(me().status(from)), "ENOENT");
          check(moved, to, "moved");
        } else {
          check(moved, from, "moved");
          check(replaced, to, "replaced");
          clear(moved, from);
        }
        EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
        clear(expected == kOk ? moved : replaced, to);
      }
    }
  }
}

TEST_F(RenameTest, ExchangeOfEachPair) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  for (const Kind one : kKinds) {
    for (const Kind other : kKinds) {
      SCOPED_TRACE(std::string(name_of(one)) + " and " + name_of(other));
      for (const auto& [from, to] : ways_) {
        make(one, from, "one");
        make(other, to, "other");
        ASSERT_EQ(outcome_of(me().rename(from, to, RENAME_EXCHANGE)), kOk);
        check(one, to, "one");
        check(other, from, "other");
        EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
        clear(one, to);
        clear(other, from);
      }
    }
  }
}

TEST_F(RenameTest, ExchangedOnesAreFoundAfterReopening) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  for (const Kind one : kKinds) {
    for (const Kind other : kKinds) {
      const std::string name = std::string("/") + name_of(one) + "-" + name_of(other);
      make(one, "/a" + name, "one");
      make(other, "/b" + name, "other");
      ASSERT_EQ(outcome_of(me().rename("/a" + name, "/b" + name, RENAME_EXCHANGE)), kOk);
    }
  }
  store_.reopen();
  for (const Kind one : kKinds) {
    for (const Kind other : kKinds) {
      const std::string name = std::string("/") + name_of(one) + "-" + name_of(other);
      check(one, "/b" + name, "one");
      check(other, "/a" + name, "other");
    }
  }
}

TEST_F(RenameTest, Refused) {
  make(Kind::kFile, "/file", "file");
  make(Kind::kFullDir, "/dir", "dir");
  EXPECT_EQ(outcome_of(me().rename("/missing", "/other")), "ENOENT");
  EXPECT_EQ(outcome_of(me().rename("/file", "/missing/other")), "ENOENT");
  EXPECT_EQ(outcome_of(me().rename("/file", "/dir/inner/other")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().rename("/file", "/missing", RENAME_EXCHANGE)), "ENOENT");
  EXPECT_EQ(outcome_of(me().rename("/file", "/dir", RENAME_EXCHANGE | RENAME_NOREPLACE)), "EINVAL");
  EXPECT_EQ(outcome_of(me().rename("/file", "/other", RENAME_WHITEOUT)), "EINVAL");
  EXPECT_EQ(outcome_of(me().rename("/file", "/other", 0x80)), "EINVAL");
  EXPECT_EQ(outcome_of(me().rename("/file", "/" + std::string(256, 'n'))), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(me().rename("/dir", "/dir/below")), "EINVAL");
  EXPECT_EQ(outcome_of(me().rename("/dir", "/dir/inner", RENAME_EXCHANGE)), "EINVAL");
  check(Kind::kFile, "/file", "file");
  check(Kind::kFullDir, "/dir", "dir");
  store_.reopen();
  check(Kind::kFullDir, "/dir", "dir");
}

TEST_F(RenameTest, OntoItselfAndOntoAnotherLinkOfItself) {
  make(Kind::kFile, "/file", "file");
  ASSERT_EQ(outcome_of(me().link("/file", "/other")), kOk);
  EXPECT_EQ(outcome_of(me().rename("/file", "/file")), kOk);
  EXPECT_EQ(outcome_of(me().rename("/file", "/other")), kOk);
  EXPECT_EQ(outcome_of(me().rename("/file", "/other", RENAME_EXCHANGE)), kOk);
  EXPECT_EQ(outcome_of(me().rename("/file", "/other", RENAME_NOREPLACE)), "EEXIST");
  check(Kind::kFile, "/file", "file");
  check(Kind::kFile, "/other", "file");
}

/// They have one sidecar between them, the one's while it is bound to both names.
TEST_F(RenameTest, ALongSymlinkOverOneOfTheSameTarget) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  for (const auto& [from, to] : ways_) {
    make(Kind::kLongSymlink, from, "same");
    make(Kind::kLongSymlink, to, "same");
    ASSERT_EQ(outcome_of(me().rename(from, to)), kOk);
    check(Kind::kLongSymlink, to, "same");
    EXPECT_EQ(me().status(to)->st_size, 4004);
    EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
    clear(Kind::kLongSymlink, to);
  }
}

TEST_F(RenameTest, OfAnOpenFile) {
  HeldFile open = me().create("/file").value();
  ASSERT_TRUE(open.write(0, "before").ok());
  ASSERT_EQ(outcome_of(me().rename("/file", "/moved")), kOk);
  EXPECT_EQ(open.read().value(), "before");
  ASSERT_TRUE(open.write(0, "after!").ok());
  EXPECT_EQ(me().get("/moved").value(), "after!");
  EXPECT_EQ(vfs().path(open.inode()), "/moved");
  ASSERT_EQ(outcome_of(me().rename("/moved", "/again")), kOk);
  open.close();
  store_.reopen();
  EXPECT_EQ(me().get("/again").value(), "after!");
}

TEST_F(RenameTest, ADirectoryWithOpenFilesAndHeldInodesBelow) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/a/b")), kOk);
  HeldFile open = me().create("/a/b/file").value();
  const HeldInode deep = me().find("/a/b").value();
  ASSERT_TRUE(open.write(0, "content").ok());
  ASSERT_EQ(outcome_of(me().rename("/a", "/z")), kOk);
  EXPECT_EQ(vfs().path(open.inode()), "/z/b/file");
  ASSERT_TRUE(open.write(7, "!").ok());
  const Who who(Caller::self());
  vfs().release(vfs().open(who, open.inode(), O_RDONLY).value());
  EXPECT_TRUE(vfs().attributes(who, deep.id()).ok());
  const Entry entry = vfs().lookup(who, deep.id(), "file").value();
  EXPECT_EQ(entry.inode, open.inode());
  vfs().forget(entry.inode, 1);
  EXPECT_EQ(me().get("/z/b/file").value(), "content!");
}

TEST_F(RenameTest, OverAFileWithOtherLinks) {
  make(Kind::kFile, "/old", "old");
  ASSERT_EQ(outcome_of(me().link("/old", "/kept")), kOk);
  make(Kind::kFile, "/new", "new");
  ASSERT_EQ(outcome_of(me().rename("/new", "/old")), kOk);
  store_.reopen();
  check(Kind::kFile, "/old", "new");
  check(Kind::kFile, "/kept", "old");
  EXPECT_EQ(me().status("/kept")->st_nlink, 1U);
}

TEST_F(RenameTest, OfOneOfSeveralLinks) {
  make(Kind::kFile, "/one", "content");
  ASSERT_EQ(outcome_of(me().link("/one", "/two")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/one", "/dir/three")), kOk);
  store_.reopen();
  check(Kind::kFile, "/two", "content");
  check(Kind::kFile, "/dir/three", "content");
  EXPECT_EQ(me().status("/two")->st_nlink, 2U);
}

TEST_F(RenameTest, ADirectoryManyTimes) {
  make(Kind::kFullDir, "/d0", "content");
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(outcome_of(me().rename("/d" + std::to_string(i), "/d" + std::to_string(i + 1))), kOk);
  }
  check(Kind::kFullDir, "/d50", "content");
}

}  // namespace
}  // namespace coffer
