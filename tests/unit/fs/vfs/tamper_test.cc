// What is moved, exchanged, put back or removed in the backing directory is refused, by its own
// error, and never read as something else.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

void run(const std::string& command) {
  if (::system(command.c_str()) != 0) {
    ADD_FAILURE() << command;
  }
}

void move(const std::string& from, const std::string& to) {
  ASSERT_EQ(::rename(from.c_str(), to.c_str()), 0) << from;
}

void swap(const std::string& one, const std::string& other) {
  ASSERT_EQ(::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE), 0);
}

void copy(const std::string& from, const std::string& to) {
  run("cp -a '" + from + "' '" + to + "'");
}

void flip(const std::string& path, off_t offset) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  char byte = 0;
  ASSERT_EQ(::pread(fd, &byte, 1, offset), 1);
  byte = static_cast<char>(byte ^ 0x10);
  ASSERT_EQ(::pwrite(fd, &byte, 1, offset), 1);
  ::close(fd);
}

/// With names encrypted and plain.
class TamperTest : public StoreTest, public ::testing::WithParamInterface<NamesMode> {
 protected:
  TamperTest() : StoreTest({.names = GetParam()}) {
    allow_flaws();
    must_be(me().make_directory("/a"));
    must_be(me().make_directory("/b"));
    must_be(me().put("/a/one", "first"));
    must_be(me().put("/a/two", "second"));
    must_be(me().put("/b/three", "third"));
    must_be(me().make_symlink("target one", "/a/link"));
    must_be(me().make_symlink("target two", "/b/link"));
  }

  /// Nothing is cached while `tamper` works.
  void tampered(const std::function<void()>& tamper) {
    store_.close();
    tamper();
    store_.open();
  }

  void expect_refused(const std::string& path, const std::string& code) {
    EXPECT_EQ(code_of(me().open(path, O_RDONLY)), code) << path;
    EXPECT_EQ(code_of(me().open(path, O_RDWR)), code) << path;
    EXPECT_EQ(outcome_of(me().open(path, O_RDONLY)), "EIO") << path;
    EXPECT_EQ(outcome_of(me().rename(path, path + "2")), "EIO") << path;
    EXPECT_EQ(outcome_of(me().link(path, path + "2")), "EIO") << path;
  }
};

INSTANTIATE_TEST_SUITE_P(Names, TamperTest,
                         ::testing::Values(NamesMode::kEncrypted, NamesMode::kPlain),
                         [](const auto& mode) { return std::string(to_string(mode.param)); });

TEST_P(TamperTest, AGoodNameDoesNotStandForABadOne) {
  // While a file is known by a name that is its own, it is found by one that is not.
  must_be(me().link("/a/one", "/a/second"));
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  for (const bool is_open : {false, true}) {
    SCOPED_TRACE(is_open ? "and open" : "and looked up");
    store_.reopen();
    const HeldInode known = must_be(me().find("/a/second"));
    std::optional<HeldFile> open;
    if (is_open) open = must_be(me().open("/a/second", O_RDONLY));
    swap(one, two);
    expect_refused("/a/two", "moved");
    expect_refused("/a/one", "moved");
    swap(one, two);
    EXPECT_EQ(*me().get("/a/one"), "first");
    EXPECT_EQ(*me().get("/a/two"), "second");
    EXPECT_EQ(*me().get("/a/second"), "first");
  }
}

TEST_P(TamperTest, WhatIsOpenIsRefusedByAnothersName) {
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  const HeldFile open = must_be(me().open("/a/one", O_RDONLY));
  swap(one, two);
  expect_refused("/a/two", "moved");
  EXPECT_EQ(*open.read(), "first") << "whoever opened it before may go on";
  swap(one, two);
  EXPECT_EQ(*me().get("/a/one"), "first");
  EXPECT_EQ(*me().get("/a/two"), "second");
}

TEST_P(TamperTest, DirectoriesSwappedWhileTheyAreKnown) {
  const HeldInode a = must_be(me().find("/a"));
  const HeldInode b = must_be(me().find("/b"));
  must_be(me().list("/a"));
  must_be(me().list("/b"));
  const std::string first = stored("/a");
  const std::string second = stored("/b");
  swap(first, second);
  EXPECT_EQ(code_of(me().list("/a")), "moved");
  EXPECT_EQ(code_of(me().list("/b")), "moved");
  EXPECT_EQ(code_of(me().open("/a/three", O_RDONLY)), "moved");
  EXPECT_EQ(code_of(me().create("/a/new")), "moved");
  swap(first, second);
  EXPECT_EQ(outcome_of(me().list("/a")), kOk);
  EXPECT_EQ(*me().get("/b/three"), "third");
}

TEST_P(TamperTest, TwoFilesOfOneDirectorySwapped) {
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  tampered([&] { swap(one, two); });
  expect_refused("/a/one", "moved");
  expect_refused("/a/two", "moved");
  EXPECT_EQ(me().get("/b/three").value(), "third");
  tampered([&] { swap(one, two); });
  EXPECT_EQ(me().get("/a/one").value(), "first");
  EXPECT_EQ(me().get("/a/two").value(), "second");
}

TEST_P(TamperTest, AFileMovedToAnotherDirectory) {
  const std::string one = stored("/a/one");
  const std::string three = stored("/b/three");
  tampered([&] { move(one, three); });
  EXPECT_EQ(outcome_of(me().open("/a/one")), "ENOENT");
  expect_refused("/b/three", "moved");
}

TEST_P(TamperTest, AFileCopiedToAnotherName) {
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  tampered([&] { run("cat '" + one + "' > '" + two + "'"); });
  EXPECT_EQ(me().get("/a/one").value(), "first");
  expect_refused("/a/two", "moved");
}

TEST_P(TamperTest, AFileRenamedToANameThatWasFree) {
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  ASSERT_EQ(outcome_of(me().unlink("/a/two")), kOk);
  tampered([&] { move(one, two); });
  expect_refused("/a/two", "moved");
}

TEST_P(TamperTest, AFileRenamedBack) {
  const std::string old_place = stored("/a/one");
  ASSERT_EQ(outcome_of(me().rename("/a/one", "/b/renamed")), kOk);
  const std::string new_place = stored("/b/renamed");
  tampered([&] { move(new_place, old_place); });
  expect_refused("/a/one", "moved");
}

TEST_P(TamperTest, ALinkThatWasRemovedMadeAgain) {
  ASSERT_EQ(outcome_of(me().link("/a/one", "/a/linked")), kOk);
  const std::string one = stored("/a/one");
  std::string linked = store_.backing();
  for (const std::string& name : backing_names(one.substr(0, one.rfind('/')))) {
    const std::string path = one.substr(0, one.rfind('/')) + "/" + name;
    struct stat status {};
    ASSERT_EQ(::lstat(path.c_str(), &status), 0);
    if (status.st_nlink == 2 && S_ISREG(status.st_mode) && path != one) linked = path;
  }
  ASSERT_EQ(outcome_of(me().unlink("/a/linked")), kOk);
  // stored() may have found either name: what is left is the one that was kept.
  const std::string kept = stored("/a/one");
  const std::string gone = kept == one ? linked : one;
  tampered([&] { ASSERT_EQ(::link(kept.c_str(), gone.c_str()), 0); });
  EXPECT_EQ(me().get("/a/one").value(), "first");
  expect_refused("/a/linked", "moved");
}

TEST_P(TamperTest, AnOldVersionPutBack) {
  const std::string one = stored("/a/one");
  store_.close();
  copy(one, store_.beside("old"));
  store_.open();
  ASSERT_EQ(outcome_of(me().put("/a/one", "newer")), kOk);
  ASSERT_EQ(outcome_of(vfs().finish()), kOk);
  tampered([&] {
    copy(one, store_.beside("new"));
    run("cat '" + store_.beside("old") + "' > '" + one + "'");
  });
  EXPECT_EQ(code_of(me().open("/a/one", O_RDONLY)), "rolled-back");
  EXPECT_EQ(outcome_of(me().open("/a/one", O_RDONLY)), "EIO");
  tampered([&] { run("cat '" + store_.beside("new") + "' > '" + one + "'"); });
  EXPECT_EQ(me().get("/a/one").value(), "newer");
}

TEST_P(TamperTest, AnotherStateOfTheSameGeneration) {
  // The store is forked, and both go one generation on.
  const std::string one = stored("/a/one");
  const std::string relative = one.substr(store_.backing().size());
  store_.close();
  copy(store_.backing(), store_.beside("fork"));
  copy(store_.beside("keystore.db"), store_.beside("keystore.fork"));
  store_.open();
  ASSERT_EQ(outcome_of(me().put("/a/one", "mine!")), kOk);
  store_.close();
  const auto exchange_all = [&] {
    swap(store_.backing(), store_.beside("fork"));
    swap(store_.beside("keystore.db"), store_.beside("keystore.fork"));
  };
  exchange_all();
  store_.open();
  ASSERT_EQ(outcome_of(me().put("/a/one", "yours")), kOk);
  store_.close();
  exchange_all();
  run("cat '" + store_.beside("fork") + relative + "' > '" + one + "'");
  store_.open();
  EXPECT_EQ(code_of(me().open("/a/one", O_RDONLY)), "rolled-back");
}

TEST_P(TamperTest, ADeletedFilePutBack) {
  const std::string one = stored("/a/one");
  copy(one, store_.beside("old"));
  ASSERT_EQ(outcome_of(me().unlink("/a/one")), kOk);
  tampered([&] { copy(store_.beside("old"), one); });
  EXPECT_EQ(outcome_of(me().open("/a/one", O_RDONLY)), "EKEYREVOKED");
}

TEST_P(TamperTest, TwoDirectoriesExchanged) {
  const std::string a = stored("/a");
  const std::string b = stored("/b");
  tampered([&] { swap(a, b); });
  for (const char* const path : {"/a", "/b"}) {
    EXPECT_EQ(code_of(me().list(path)), "moved") << path;
    EXPECT_EQ(outcome_of(me().list(path)), "EIO") << path;
    EXPECT_EQ(code_of(me().create(std::string(path) + "/new")), "moved") << path;
    EXPECT_EQ(code_of(me().rename(path, "/c")), "moved") << path;
  }
  EXPECT_EQ(code_of(me().open("/a/one")), "moved");
  EXPECT_EQ(code_of(me().open("/b/three")), "moved");
}

TEST_P(TamperTest, ADirectoryMovedIntoAnother) {
  ASSERT_EQ(outcome_of(me().make_directory("/b/sub")), kOk);
  const std::string a = stored("/a");
  const std::string sub = stored("/b/sub");
  tampered([&] { swap(a, sub); });
  EXPECT_EQ(code_of(me().list("/b/sub")), "moved");
  EXPECT_EQ(code_of(me().list("/a")), "moved");
}

TEST_P(TamperTest, ADirectoryRenamedBack) {
  const std::string old_place = stored("/a");
  ASSERT_EQ(outcome_of(me().rename("/a", "/z")), kOk);
  const std::string new_place = stored("/z");
  tampered([&] { move(new_place, old_place); });
  EXPECT_EQ(code_of(me().list("/a")), "moved");
}

TEST_P(TamperTest, ADirectoryRecordCopied) {
  const std::string a = stored("/a");
  const std::string b = stored("/b");
  tampered([&] { run("cat '" + a + "/.coffer.dir' > '" + b + "/.coffer.dir'"); });
  EXPECT_EQ(code_of(me().list("/b")), "moved");
  EXPECT_EQ(code_of(me().open("/b/three")), "moved");
  EXPECT_EQ(me().get("/a/one").value(), "first");
}

TEST_P(TamperTest, ADirectoryRecordOfTheRootCopied) {
  const std::string a = stored("/a");
  tampered([&] { run("cat '" + store_.backing(".coffer.dir") + "' > '" + a + "/.coffer.dir'"); });
  EXPECT_EQ(code_of(me().list("/a")), "moved");
}

TEST_P(TamperTest, ADirectoryRecordRemovedAlteredOrReplaced) {
  const std::string record = stored("/a") + "/.coffer.dir";
  const std::string kept = store_.beside("record");
  copy(record, kept);
  const auto expect_corrupt = [&](const char* what) {
    SCOPED_TRACE(what);
    EXPECT_EQ(code_of(me().list("/a")), "corrupt");
    EXPECT_EQ(outcome_of(me().list("/a")), "EIO");
    EXPECT_EQ(code_of(me().open("/a/one")), "corrupt");
    EXPECT_EQ(me().get("/b/three").value(), "third");
  };
  tampered([&] { ASSERT_EQ(::unlink(record.c_str()), 0); });
  expect_corrupt("removed");
  tampered([&] { run(": > '" + record + "'"); });
  expect_corrupt("empty");
  tampered([&] { run("(cat '" + kept + "'; echo) > '" + record + "'"); });
  expect_corrupt("longer");
  tampered([&] { run("head -c 511 '" + kept + "' > '" + record + "'"); });
  expect_corrupt("shorter");
  tampered([&] { run("rm '" + record + "'; mkdir '" + record + "'"); });
  expect_corrupt("a directory");
  run("rmdir '" + record + "'");
  // Version, bindings, directory id, generation, reserved bytes and MAC: every part of it counts.
  for (const off_t offset : {0, 8, 10, 32, 48, 56, 64, 80, 200, 480, 511}) {
    tampered([&] {
      run("cat '" + kept + "' > '" + record + "'");
      flip(record, offset);
    });
    EXPECT_EQ(outcome_of(me().list("/a")), "EIO") << offset;
  }
  tampered([&] { run("cat '" + kept + "' > '" + record + "'"); });
  EXPECT_EQ(me().get("/a/one").value(), "first");
}

TEST_P(TamperTest, ASymlinkMovedOrAltered) {
  const std::string one = stored("/a/link");
  const std::string two = stored("/b/link");
  tampered([&] { swap(one, two); });
  EXPECT_EQ(code_of(me().read_symlink("/a/link")), "moved");
  EXPECT_EQ(outcome_of(me().read_symlink("/b/link")), "EIO");
  tampered([&] { run("ln -sfn /etc/passwd '" + one + "'"); });
  EXPECT_EQ(code_of(me().read_symlink("/a/link")), "corrupt");
  EXPECT_EQ(outcome_of(me().open("/a/link")), "ELOOP") << "never followed";
}

TEST_P(TamperTest, ALongTargetWithoutItsSidecar) {
  ASSERT_EQ(outcome_of(me().make_symlink(std::string(4000, 't'), "/a/long")), kOk);
  const std::string dir = stored("/a");
  tampered([&] { run("rm '" + dir + "'/.coffer.target.*"); });
  EXPECT_EQ(outcome_of(me().read_symlink("/a/long")), "EIO");
}

TEST_P(TamperTest, ASymlinkInTheWay) {
  // Somebody puts symlinks that lead out of the store where files and directories are.
  const std::string one = stored("/a/one");
  const std::string b = stored("/b");
  tampered([&] {
    run("ln -sfn /etc/passwd '" + one + "'");
    move(b, store_.beside("elsewhere"));
    run("ln -sfn '" + store_.beside("elsewhere") + "' '" + b + "'");
  });
  EXPECT_EQ(outcome_of(me().open("/a/one")), "ELOOP");
  EXPECT_EQ(code_of(me().read_symlink("/a/one")), "corrupt");
  EXPECT_EQ(outcome_of(me().list("/b")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().open("/b/three")), "ENOTDIR");
}

TEST_P(TamperTest, AFifoInTheWay) {
  const std::string one = stored("/a/one");
  tampered([&] { run("rm '" + one + "'; mkfifo '" + one + "'"); });
  EXPECT_EQ(outcome_of(me().open("/a/one", O_RDONLY)), "EINVAL");
  EXPECT_EQ(outcome_of(me().open("/a/one", O_RDWR)), "EINVAL");
  EXPECT_EQ(outcome_of(me().open("/a/one", O_WRONLY)), "EINVAL");
}

TEST_P(TamperTest, AFileOfAnotherStore) {
  WholeStore foreign({.names = GetParam()});
  const PathUser user(foreign.vfs());
  must_be(user.put("/file", "foreign"));
  const std::string source = stored_path(user, foreign.backing(), "/file");
  const std::string one = stored("/a/one");
  tampered([&] { run("cat '" + source + "' > '" + one + "'"); });
  expect_refused("/a/one", "moved");
}

TEST_P(TamperTest, ADirectoryOfAnotherStore) {
  WholeStore foreign({.names = GetParam()});
  const PathUser user(foreign.vfs());
  must_be(user.make_directory("/dir"));
  const std::string source = stored_path(user, foreign.backing(), "/dir");
  const std::string a = stored("/a");
  tampered([&] { run("cat '" + source + "/.coffer.dir' > '" + a + "/.coffer.dir'"); });
  EXPECT_EQ(code_of(me().list("/a")), "moved");
}

TEST_P(TamperTest, AFileOrDirectoryOfAnotherScope) {
  const ScopeId scope = store_.add_scope("/scope");
  store_.grant(scope, {own_selector()});
  ASSERT_EQ(outcome_of(me().put("/scope/file", "of the scope")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/scope/sub")), kOk);
  const std::string file = stored("/scope/file");
  const std::string sub = stored("/scope/sub");
  const std::string scope_dir = stored("/scope");
  const std::string one = stored("/a/one");
  const std::string a = stored("/a");
  const std::string b = stored("/b");
  tampered([&] {
    run("cat '" + file + "' > '" + one + "'");
    run("cat '" + sub + "/.coffer.dir' > '" + b + "/.coffer.dir'");
  });
  expect_refused("/a/one", "moved");
  EXPECT_EQ(code_of(me().list("/b")), "moved");
  tampered([&] { run("cat '" + scope_dir + "/.coffer.dir' > '" + a + "/.coffer.dir'"); });
  EXPECT_EQ(code_of(me().list("/a")), "moved") << "the root of a scope is where it was made";
  EXPECT_EQ(me().get("/scope/file").value(), "of the scope");
}

TEST_P(TamperTest, AFileCutOff) {
  ASSERT_EQ(outcome_of(me().put("/a/big", std::string(300000, 'b'))), kOk);
  const std::string big = stored("/a/big");
  const std::string one = stored("/a/one");
  struct stat status {};
  ASSERT_EQ(::lstat(big.c_str(), &status), 0);
  tampered([&] {
    ASSERT_EQ(::truncate(big.c_str(), status.st_size - 4096), 0);
    ASSERT_EQ(::truncate(one.c_str(), 100), 0);
  });
  EXPECT_EQ(code_of(me().open("/a/big")), "corrupt");
  EXPECT_EQ(outcome_of(me().status("/a/one")), "EIO") << "no size is guessed";
  EXPECT_EQ(outcome_of(me().status("/a/two")), kOk);
}

TEST_P(TamperTest, EveryBlockOfAFileCounts) {
  const std::string content(20000, 'c');
  ASSERT_EQ(outcome_of(me().put("/a/file", content)), kOk);
  const std::string file = stored("/a/file");
  copy(file, store_.beside("whole"));
  struct stat status {};
  ASSERT_EQ(::lstat(file.c_str(), &status), 0);
  for (off_t offset = 8192; offset < status.st_size; offset += 4096) {
    tampered([&] {
      run("cat '" + store_.beside("whole") + "' > '" + file + "'");
      flip(file, offset + 7);
    });
    const auto read = me().get("/a/file");
    EXPECT_EQ(code_of(read), "corrupt") << offset;
  }
}

TEST_P(TamperTest, WhatIsTamperedWithWhileInUseIsNoticedToo) {
  // The directory is known; the file is not open.
  ASSERT_EQ(me().get("/a/one").value(), "first");
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  swap(one, two);
  EXPECT_EQ(code_of(me().open("/a/one")), "moved");
  const HeldInode held = me().find("/a/two").value();
  swap(one, two);
  EXPECT_EQ(outcome_of(vfs().open(Who(Caller::self()), held.id(), O_RDONLY)), "ESTALE")
      << "another object lies there now";
}

}  // namespace
}  // namespace coffer
