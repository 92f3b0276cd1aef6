// Who gets what: deny by default, grants that end, scopes below scopes.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint8_t kListOnly = 1;
constexpr std::uint8_t kReadOnly = 2;
constexpr std::uint8_t kWriteOnly = 4;

AttributeChange mode_change() {
  AttributeChange change;
  change.mode = 0777;
  return change;
}

AttributeChange size_change() {
  AttributeChange change;
  change.size = 0;
  return change;
}

class AccessTest : public StoreTest {
 protected:
  AccessTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir"));
    must_be(me().put("/dir/inner", "inner"));
    must_be(me().make_symlink("secret/target", "/link"));
    store_.new_audit();
  }

  /// True if the log says since it was last asked that `uid` was refused `right` at `path`.
  bool refused_on_record(uid_t uid, const std::string& path, const std::string& right) {
    for (const auto& line : store_.new_audit()) {
      if (line.value("decision", "") == "deny" && line.at("identity").value("uid", 0U) == uid &&
          line.value("path", "") == path &&
          line.value("right", "").find(right) != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  bool released_on_record(uid_t uid, const std::string& path, const std::string& right) {
    for (const auto& line : store_.new_audit()) {
      if (line.value("decision", "") == "allow" && line.at("identity").value("uid", 0U) == uid &&
          line.value("path", "") == path && line.value("right", "") == right) {
        return true;
      }
    }
    return false;
  }
};

TEST_F(AccessTest, AnotherUserGetsNothingAndItIsOnRecord) {
  // By inodes that somebody else looked up, as the kernel has them cached.
  const HeldInode file = me().find("/file").value();
  const HeldInode dir = me().find("/dir").value();
  const HeldInode link = me().find("/link").value();
  const Who who(user(1234));
  const auto expect_refused = [&](const std::string& outcome, const std::string& path,
                                  const std::string& right) {
    EXPECT_EQ(outcome, "EACCES") << path;
    EXPECT_TRUE(refused_on_record(1234, path, right)) << path << " " << right;
  };
  expect_refused(outcome_of(vfs().lookup(who, kRootInode, "file")), "/file", "list");
  expect_refused(outcome_of(vfs().lookup(who, dir.id(), "inner")), "/dir/inner", "list");
  expect_refused(outcome_of(vfs().lookup(who, kRootInode, "missing")), "/missing", "list");
  expect_refused(outcome_of(vfs().open(who, file.id(), O_RDONLY)), "/file", "read");
  expect_refused(outcome_of(vfs().open(who, file.id(), O_WRONLY)), "/file", "write");
  expect_refused(outcome_of(vfs().open(who, file.id(), O_RDWR)), "/file", "read,write");
  expect_refused(outcome_of(vfs().open(who, file.id(), O_RDONLY | O_TRUNC)), "/file", "write");
  expect_refused(outcome_of(vfs().create_file(who, kRootInode, "new", 0666, O_RDWR)), "/new",
                 "write");
  expect_refused(outcome_of(vfs().create_file(who, kRootInode, "file", 0666, O_RDWR)), "/file",
                 "write");
  expect_refused(outcome_of(vfs().make_directory(who, dir.id(), "new", 0777)), "/dir/new", "write");
  expect_refused(outcome_of(vfs().make_node(who, dir.id(), "new", S_IFIFO, 0)), "/dir/new",
                 "write");
  expect_refused(outcome_of(vfs().make_symlink(who, dir.id(), "new", "x")), "/dir/new", "write");
  expect_refused(outcome_of(vfs().link(who, file.id(), dir.id(), "new")), "/dir/new", "write");
  expect_refused(outcome_of(vfs().unlink(who, kRootInode, "file")), "/file", "write");
  expect_refused(outcome_of(vfs().remove_directory(who, kRootInode, "dir")), "/dir", "write");
  expect_refused(outcome_of(vfs().rename(who, kRootInode, "file", dir.id(), "new", 0)), "/file",
                 "write");
  expect_refused(outcome_of(vfs().read_symlink(who, link.id())), "/link", "list");
  expect_refused(outcome_of(vfs().open_directory(who, dir.id())), "/dir", "list");
  expect_refused(outcome_of(vfs().open_directory(who, kRootInode)), "/", "list");
  expect_refused(outcome_of(vfs().change_attributes(who, file.id(), mode_change(), nullptr)),
                 "/file", "write");
  expect_refused(outcome_of(vfs().change_attributes(who, dir.id(), mode_change(), nullptr)), "/dir",
                 "write");
  expect_refused(outcome_of(vfs().change_attributes(who, kRootInode, mode_change(), nullptr)), "/",
                 "write");
  expect_refused(outcome_of(vfs().change_attributes(who, file.id(), size_change(), nullptr)),
                 "/file", "write");
  const HeldFile open = me().open("/file").value();
  store_.new_audit();
  expect_refused(outcome_of(vfs().open(who, file.id(), O_RDONLY)), "/file", "read");
  expect_refused(outcome_of(vfs().change_attributes(who, file.id(), mode_change(), nullptr)),
                 "/file", "write");
  expect_refused(outcome_of(vfs().change_attributes(who, file.id(), size_change(), nullptr)),
                 "/file", "write");
  EXPECT_EQ(me().get("/file").value(), "content");
  EXPECT_THAT(me().list("/").value(), ElementsAre("dir", "file", "link"));
}

TEST_F(AccessTest, NothingIsCachedForThemEither) {
  store_.reopen();
  const Who who(user(1234));
  EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, "file")), "EACCES");
  EXPECT_EQ(outcome_of(vfs().open_directory(who, kRootInode)), "EACCES");
}

TEST_F(AccessTest, ReleasesAreOnRecord) {
  const HeldInode file = me().find("/file").value();
  store_.new_audit();
  vfs().release(vfs().open(Who(Caller::self()), file.id(), O_RDONLY).value());
  EXPECT_TRUE(released_on_record(::geteuid(), "/file", "read"));
  vfs().release(vfs().open(Who(Caller::self()), file.id(), O_RDWR).value());
  EXPECT_TRUE(released_on_record(::geteuid(), "/file", "read,write"));
  const HeldFile held = me().open("/file").value();
  store_.new_audit();
  vfs().release(vfs().open(Who(Caller::self()), file.id(), O_RDONLY).value());
  EXPECT_TRUE(released_on_record(::geteuid(), "/file", "read")) << "though it was open already";
  me().open_directory("/dir").value();
  EXPECT_TRUE(released_on_record(::geteuid(), "/dir", "list"));
  { me().create("/dir/new").value(); }
  EXPECT_TRUE(released_on_record(::geteuid(), "/dir/new", "read,write"));
}

TEST_F(AccessTest, ACallerWithoutAThreadGetsNothing) {
  store_.grant(kRootScope, {});  // everyone
  EXPECT_EQ(other().get("/file").value(), "content");
  const HeldInode file = me().find("/file").value();
  for (const uid_t uid : {::geteuid(), uid_t{0}, uid_t{1234}}) {
    const Who nobody(Caller{.uid = uid, .gid = 0, .tid = 0});
    EXPECT_EQ(outcome_of(vfs().lookup(nobody, kRootInode, "file")), "EACCES");
    EXPECT_EQ(outcome_of(vfs().open(nobody, file.id(), O_RDONLY)), "EACCES");
    EXPECT_EQ(outcome_of(vfs().create_file(nobody, kRootInode, "new", 0644, O_RDWR)), "EACCES");
    EXPECT_EQ(outcome_of(vfs().open_directory(nobody, kRootInode)), "EACCES");
    const Who gone(Caller{.uid = uid, .gid = 0, .tid = 0x3fffffff});
    EXPECT_EQ(outcome_of(vfs().open(gone, file.id(), O_RDONLY)), "EACCES");
  }
}

TEST_F(AccessTest, RootIsAUserAsAnyOther) {
  WholeStore foreign({.granted = false});
  const PathUser root(foreign.vfs(), user(0));
  EXPECT_EQ(outcome_of(root.list("/")), "EACCES");
  EXPECT_EQ(outcome_of(root.create("/file")), "EACCES");
}

TEST_F(AccessTest, RightsApart) {
  store_.grant(kRootScope, {"unix:uid:1"}, kListOnly);
  store_.grant(kRootScope, {"unix:uid:2"}, kReadOnly);
  store_.grant(kRootScope, {"unix:uid:3"}, kWriteOnly);
  for (const uid_t uid : {1U, 2U, 3U}) {
    EXPECT_EQ(outcome_of(other(uid).list("/")), kOk) << uid;
    EXPECT_EQ(outcome_of(other(uid).status("/file")), kOk) << uid;
    EXPECT_EQ(outcome_of(other(uid).read_symlink("/link")), kOk) << uid;
    EXPECT_EQ(outcome_of(other(uid).open("/file", O_RDONLY)), uid == 2 ? kOk : "EACCES") << uid;
    EXPECT_EQ(outcome_of(other(uid).open("/file", O_WRONLY)), uid == 3 ? kOk : "EACCES") << uid;
    EXPECT_EQ(outcome_of(other(uid).open("/file", O_RDWR)), "EACCES") << uid;
    EXPECT_EQ(outcome_of(other(uid).create("/new", 0644, O_RDWR | O_CREAT | O_EXCL)), "EACCES");
    EXPECT_EQ(outcome_of(other(uid).change("/file", mode_change())), uid == 3 ? kOk : "EACCES");
    EXPECT_EQ(outcome_of(other(uid).rename("/file", "/file")), uid == 3 ? kOk : "EACCES") << uid;
  }
  EXPECT_EQ(outcome_of(other(3).create("/new", 0644, O_WRONLY | O_CREAT | O_EXCL)), kOk);
  EXPECT_EQ(outcome_of(other(3).unlink("/new")), kOk);
}

TEST_F(AccessTest, RevokedAndExpiredGrantsSaySo) {
  const GrantId grant = store_.grant(kRootScope, {"unix:uid:5"});
  const HeldFile open = other(5).open("/file", O_RDONLY).value();
  const HeldInode file = me().find("/file").value();
  store_.revoke(grant);
  const Who who(user(5));
  EXPECT_EQ(outcome_of(vfs().open(who, file.id(), O_RDONLY)), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, "file")), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().create_file(who, kRootInode, "new", 0644, O_RDWR)), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().unlink(who, kRootInode, "file")), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().change_attributes(who, file.id(), mode_change(), nullptr)),
            "EKEYREVOKED");
  EXPECT_TRUE(refused_on_record(5, "/file", "read"));

  GrantRow ends = selector_grant(kRootScope, {"unix:uid:6"});
  ends.not_after = store_.clock().unix_seconds() + 3600;
  store_.grant(ends);
  EXPECT_EQ(other(6).get("/file").value(), "content");
  ASSERT_EQ(outcome_of(vfs().finish()), kOk);  // nobody else looks at the clock while it moves
  store_.clock().advance(std::chrono::hours(2));
  EXPECT_EQ(outcome_of(vfs().open(Who(user(6)), file.id(), O_RDONLY)), "EKEYEXPIRED");
  EXPECT_EQ(outcome_of(vfs().lookup(Who(user(6)), kRootInode, "file")), "EKEYEXPIRED");
  EXPECT_EQ(outcome_of(me().get("/file")), kOk) << "others go on";
}

TEST_F(AccessTest, AnExplicitDenyWins) {
  store_.grant(kRootScope, {});
  GrantRow deny = selector_grant(kRootScope, {"unix:uid:7"});
  deny.deny = true;
  store_.grant(deny);
  EXPECT_EQ(outcome_of(other(8).get("/file")), kOk);
  EXPECT_EQ(outcome_of(other(7).get("/file")), "EACCES");
}

TEST_F(AccessTest, AFileThatIsDamagedIsNoMoreThanRefusedToStrangers) {
  const ino_t number = me().status("/file")->st_ino;
  store_.close();
  const std::string stored = store_.backing(stored_name(store_.backing(), number));
  const int fd = ::open(stored.c_str(), O_WRONLY | O_CLOEXEC);
  for (const off_t slot : {0, 4096}) ASSERT_EQ(::pwrite(fd, "XXXX", 4, slot), 4);
  ::close(fd);
  store_.open();
  const HeldInode file = me().find("/file").value();
  EXPECT_EQ(outcome_of(vfs().open(Who(Caller::self()), file.id(), O_RDONLY)), "EIO");
  EXPECT_EQ(outcome_of(vfs().open(Who(user(1234)), file.id(), O_RDONLY)), "EACCES");
  allow_flaws();
}

/// /granted/scope is a scope of its own, granted to user 9; nothing above it is.
class SubScopeTest : public AccessTest {
 protected:
  SubScopeTest() {
    must_be(me().make_directory("/granted"));
    scope_ = store_.add_scope("/granted/scope");
    store_.grant(scope_, {"unix:uid:9"});
    store_.grant(scope_, {own_selector()});
    must_be(me().put("/granted/scope/file", "in the scope"));
    must_be(me().put("/granted/beside", "beside it"));
    store_.new_audit();
  }
  ScopeId scope_;
};

TEST_F(SubScopeTest, TheWayToAGrantedScopeIsPassable) {
  for (int opening = 0; opening < 2; ++opening) {
    EXPECT_EQ(other(9).get("/granted/scope/file").value(), "in the scope");
    EXPECT_THAT(other(9).list("/granted/scope").value(), ElementsAre("file"));
    EXPECT_EQ(outcome_of(other(9).put("/granted/scope/new", "new")), kOk);
    EXPECT_EQ(outcome_of(other(9).unlink("/granted/scope/new")), kOk);
    store_.reopen();
  }
}

TEST_F(SubScopeTest, AndNoMoreThanPassable) {
  const PathUser user9 = other(9);
  EXPECT_EQ(outcome_of(user9.list("/")), "EACCES");
  EXPECT_EQ(outcome_of(user9.list("/granted")), "EACCES");
  EXPECT_EQ(outcome_of(user9.status("/granted/beside")), "EACCES");
  EXPECT_EQ(outcome_of(user9.status("/granted/missing")), "EACCES");
  EXPECT_EQ(outcome_of(user9.status("/file")), "EACCES");
  EXPECT_EQ(outcome_of(user9.create("/granted/new")), "EACCES");
  EXPECT_EQ(outcome_of(user9.make_directory("/granted/new")), "EACCES");
  EXPECT_EQ(outcome_of(user9.unlink("/granted/beside")), "EACCES");
  EXPECT_EQ(outcome_of(user9.remove_directory("/granted")), "EACCES");
  EXPECT_EQ(outcome_of(user9.remove_directory("/granted/scope")), "EACCES");
  EXPECT_EQ(outcome_of(user9.rename("/granted/scope", "/granted/scope2")), "EACCES");
  EXPECT_EQ(outcome_of(user9.rename("/granted/scope/file", "/granted/file")), "EACCES");
  EXPECT_EQ(outcome_of(user9.link("/granted/scope/file", "/granted/file")), "EACCES");
  EXPECT_EQ(outcome_of(user9.change("/granted", mode_change())), "EACCES");
}

TEST_F(SubScopeTest, AnotherUserGetsNothingOfIt) {
  EXPECT_EQ(outcome_of(other(1234).status("/granted")), "EACCES");
  const HeldInode scope = me().find("/granted/scope").value();
  const HeldInode file = me().find("/granted/scope/file").value();
  const Who who(user(1234));
  EXPECT_EQ(outcome_of(vfs().open_directory(who, scope.id())), "EACCES");
  EXPECT_EQ(outcome_of(vfs().lookup(who, scope.id(), "file")), "EACCES");
  EXPECT_EQ(outcome_of(vfs().open(who, file.id(), O_RDONLY)), "EACCES");
}

TEST_F(SubScopeTest, AGrantOfTheRootIsNoneOfTheScope) {
  store_.grant(kRootScope, {"unix:uid:10"});
  EXPECT_EQ(outcome_of(other(10).list("/granted")), kOk);
  EXPECT_EQ(outcome_of(other(10).status("/granted/scope")), kOk) << "its name is the root scope's";
  EXPECT_EQ(outcome_of(other(10).list("/granted/scope")), "EACCES");
  EXPECT_EQ(outcome_of(other(10).status("/granted/scope/file")), "EACCES");
  EXPECT_EQ(outcome_of(other(10).create("/granted/scope/new")), "EACCES");
}

TEST_F(SubScopeTest, NothingCrossesItsBoundary) {
  ASSERT_EQ(outcome_of(me().make_directory("/granted/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("x", "/granted/link")), kOk);
  EXPECT_EQ(outcome_of(me().rename("/granted/beside", "/granted/scope/beside")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/scope/file", "/granted/file")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/scope/file", "/granted/beside")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/dir", "/granted/scope/dir")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/link", "/granted/scope/link")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/scope/file", "/granted/beside", RENAME_EXCHANGE)),
            "EXDEV");
  EXPECT_EQ(outcome_of(me().link("/granted/beside", "/granted/scope/linked")), "EXDEV");
  EXPECT_EQ(outcome_of(me().link("/granted/scope/file", "/granted/linked")), "EXDEV");
  EXPECT_EQ(me().status("/granted/beside")->st_nlink, 1U);
  EXPECT_EQ(me().get("/granted/scope/file").value(), "in the scope");
  EXPECT_EQ(me().get("/granted/beside").value(), "beside it");
  EXPECT_EQ(outcome_of(me().make_node("/granted/fifo", S_IFIFO | 0600)), kOk);
  EXPECT_EQ(outcome_of(me().link("/granted/fifo", "/granted/scope/fifo")), "EXDEV");
  EXPECT_EQ(outcome_of(me().rename("/granted/fifo", "/granted/scope/fifo")), "EXDEV");
}

TEST_F(SubScopeTest, ItsRootAndWhatIsAboveStayWhereTheyAre) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir2")), kOk);
  EXPECT_EQ(outcome_of(me().rename("/granted/scope", "/granted/moved")), "EBUSY");
  EXPECT_EQ(outcome_of(me().rename("/granted", "/moved")), "EBUSY");
  EXPECT_EQ(outcome_of(me().rename("/dir2", "/granted/scope")), "EBUSY");
  EXPECT_EQ(outcome_of(me().rename("/dir2", "/granted", RENAME_EXCHANGE)), "EBUSY");
  EXPECT_EQ(outcome_of(me().rename("/granted", "/dir2", RENAME_EXCHANGE)), "EBUSY");
  EXPECT_EQ(outcome_of(me().remove_directory("/granted")), "EBUSY");
  ASSERT_EQ(outcome_of(me().unlink("/granted/scope/file")), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/granted/scope")), "EBUSY");
  EXPECT_EQ(outcome_of(me().rename("/granted/beside", "/granted/beside2")), kOk)
      << "other entries do not mind";
}

TEST_F(SubScopeTest, ItsFilesHaveItsChunkSizeAndSuite) {
  ScopeSettings settings;
  settings.chunk_log2 = 16;
  settings.suite = Suite::kChaCha20Poly1305;
  const ScopeId large = store_.add_scope("/large", settings);
  store_.grant(large, {own_selector()});
  const std::string content(200000, 'c');
  ASSERT_EQ(outcome_of(me().put("/large/file", content)), kOk);
  EXPECT_EQ(me().status("/large/file")->st_size, 200000);
  store_.reopen();
  EXPECT_EQ(me().status("/large/file")->st_size, 200000);
  EXPECT_EQ(me().get("/large/file").value(), content);
}

TEST_F(SubScopeTest, AScopeRootIsMadeOnceAndWhereItsNameIsFree) {
  EXPECT_EQ(outcome_of(me().make_directory("/granted/scope")), "EEXIST");
  EXPECT_EQ(outcome_of(other(9).make_directory("/granted/scope/sub")), kOk);
  EXPECT_EQ(outcome_of(other(9).put("/granted/scope/sub/file", "x")), kOk);
  store_.reopen();
  EXPECT_EQ(other(9).get("/granted/scope/sub/file").value(), "x");
}

}  // namespace
}  // namespace coffer
