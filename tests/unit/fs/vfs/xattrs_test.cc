// Extended attributes: what programs see of them, who is told, and what becomes of damage.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void replace(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

constexpr std::uint8_t kList = 1;
constexpr std::uint8_t kXattrRights = 3;

class XattrsTest : public StoreTest {
 protected:
  XattrsTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir"));
  }

  std::vector<std::string> sidecars() { return xattr_sidecars(store_.backing()); }

  /// Nothing is cached while `tamper` works.
  void tampered(const std::function<void()>& tamper) {
    allow_flaws();
    store_.close();
    tamper();
    store_.open();
  }

  void expect_damaged(const std::string& path, const std::string& reason) {
    const auto names = me().xattr_names(path);
    EXPECT_EQ(code_of(names), "corrupt") << path;
    EXPECT_EQ(outcome_of(me().xattr(path, "user.a")), "EIO") << path;
    EXPECT_EQ(outcome_of(me().set_xattr(path, "user.b", "x")), "EIO") << path;
    if (!names) {
      EXPECT_THAT(names.error().message(), HasSubstr(reason));
      EXPECT_THAT(names.error().message(), HasSubstr(path));
    }
  }
};

TEST_F(XattrsTest, AreThereAcrossMountsRenamesAndLinks) {
  const std::string binary("a\0b", 3);
  for (const std::string path : {"/", "/file", "/dir"}) {
    EXPECT_THAT(me().xattr_names(path).value(), IsEmpty());
    EXPECT_EQ(outcome_of(me().xattr(path, "user.a")), "ENODATA");
    ASSERT_EQ(outcome_of(me().set_xattr(path, "user.a", "of " + path)), kOk);
    ASSERT_EQ(outcome_of(me().set_xattr(path, "user.empty", "")), kOk);
    ASSERT_EQ(outcome_of(me().set_xattr(path, "user.binary", binary)), kOk);
  }
  ASSERT_EQ(outcome_of(me().link("/file", "/dir/linked")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/file", "/dir/renamed")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/dir", "/moved")), kOk);
  for (int again = 0; again < 2; ++again) {
    for (const auto& [path, was] : std::map<std::string, std::string>{{"/", "/"},
                                                                      {"/moved", "/dir"},
                                                                      {"/moved/renamed", "/file"},
                                                                      {"/moved/linked", "/file"}}) {
      EXPECT_THAT(me().xattr_names(path).value(),
                  ElementsAre("user.a", "user.binary", "user.empty"))
          << path;
      EXPECT_EQ(me().xattr(path, "user.a").value(), "of " + was);
      EXPECT_EQ(me().xattr(path, "user.empty").value(), "");
      EXPECT_EQ(me().xattr(path, "user.binary").value(), binary);
    }
    store_.reopen();
  }
  EXPECT_EQ(me().get("/moved/renamed").value(), "content");
}

TEST_F(XattrsTest, CreateAndReplaceAsAsked) {
  for (const std::string path : {"/file", "/dir"}) {
    EXPECT_EQ(outcome_of(me().set_xattr(path, "user.a", "1", XATTR_REPLACE)), "ENODATA");
    EXPECT_EQ(outcome_of(me().set_xattr(path, "user.a", "1", XATTR_CREATE)), kOk);
    EXPECT_EQ(outcome_of(me().set_xattr(path, "user.a", "2", XATTR_CREATE)), "EEXIST");
    EXPECT_EQ(me().xattr(path, "user.a").value(), "1");
    EXPECT_EQ(outcome_of(me().set_xattr(path, "user.a", "2", XATTR_REPLACE)), kOk);
    EXPECT_EQ(me().xattr(path, "user.a").value(), "2");
    EXPECT_EQ(outcome_of(me().remove_xattr(path, "user.b")), "ENODATA");
    EXPECT_EQ(outcome_of(me().remove_xattr(path, "user.a")), kOk);
    EXPECT_EQ(outcome_of(me().remove_xattr(path, "user.a")), "ENODATA");
    EXPECT_THAT(me().xattr_names(path).value(), IsEmpty());
  }
  EXPECT_THAT(sidecars(), IsEmpty());
}

TEST_F(XattrsTest, LimitsAreThoseOfTheSet) {
  ASSERT_EQ(outcome_of(me().set_xattr("/file", "user.a", std::string(65536, 'v'))), kOk);
  EXPECT_EQ(outcome_of(me().set_xattr("/file", "user.a", std::string(65537, 'v'))), "E2BIG");
  EXPECT_EQ(outcome_of(me().set_xattr("/file", "user." + std::string(251, 'n'), "")), "ERANGE");
  for (int i = 0; i < 14; ++i) {
    const std::string name = "user." + std::to_string(i);
    ASSERT_EQ(outcome_of(me().set_xattr("/file", name, std::string(65536, 'v'))), kOk) << i;
  }
  EXPECT_EQ(outcome_of(me().set_xattr("/file", "user.last", std::string(65536, 'v'))), "ENOSPC");
  store_.reopen();
  EXPECT_THAT(me().xattr_names("/file").value(), SizeIs(15));
}

TEST_F(XattrsTest, OtherNamespacesAndObjectsAreNotCarried) {
  must_be(me().make_symlink("target", "/link"));
  must_be(me().make_node("/fifo", S_IFIFO | 0600));
  for (const std::string name : {"system.other", "os2.x", "plain", "user.", "trusted.", ""}) {
    EXPECT_EQ(outcome_of(me().set_xattr("/file", name, "x")), "EOPNOTSUPP") << name;
    EXPECT_EQ(outcome_of(me().xattr("/file", name)), "EOPNOTSUPP") << name;
    EXPECT_EQ(outcome_of(me().remove_xattr("/file", name)), "EOPNOTSUPP") << name;
  }
  ASSERT_EQ(outcome_of(me().set_xattr("/file", "user.a", "x")), kOk);
  for (const std::string path : {"/link", "/fifo"}) {
    EXPECT_EQ(outcome_of(me().set_xattr(path, "trusted.a", "x")), "EOPNOTSUPP") << path;
    EXPECT_EQ(outcome_of(me().xattr(path, "trusted.a")), "ENODATA") << path;
    EXPECT_THAT(me().xattr_names(path).value(), IsEmpty()) << path;
  }
}

TEST_F(XattrsTest, TimesOfContentStay) {
  for (const std::string path : {"/file", "/dir"}) {
    AttributeChange old;
    old.access_time = old.modification_time = timespec{.tv_sec = 1000, .tv_nsec = 7};
    must_be(me().change(path, old));
    const struct stat before = me().status(path).value();
    ::usleep(20'000);
    ASSERT_EQ(outcome_of(me().set_xattr(path, "user.a", "x")), kOk);
    ASSERT_EQ(outcome_of(me().set_xattr(path, "user.a", "y")), kOk);
    const struct stat after = me().status(path).value();
    EXPECT_EQ(after.st_mtim.tv_sec, 1000) << path;
    EXPECT_EQ(after.st_mtim.tv_nsec, 7) << path;
    EXPECT_GT(after.st_ctim.tv_nsec + (after.st_ctim.tv_sec - before.st_ctim.tv_sec) * 1000000000,
              before.st_ctim.tv_nsec)
        << path;
  }
}

TEST_F(XattrsTest, GoWithTheirObject) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  must_be(me().set_xattr("/dir", "user.a", "x"));
  EXPECT_THAT(sidecars(), SizeIs(2));
  must_be(me().link("/file", "/second"));
  must_be(me().unlink("/file"));
  EXPECT_THAT(sidecars(), SizeIs(2)) << "another link is left";
  {
    const HeldFile open = must_be(me().open("/second", O_RDONLY));
    must_be(me().unlink("/second"));
    EXPECT_EQ(as_text(must_be(vfs().xattr(me().who(), open.inode(), "user.a"))), "x")
        << "a handle is left";
    must_be(vfs().make_durable());
    EXPECT_THAT(sidecars(), SizeIs(2)) << "a handle is left";
  }
  must_be(vfs().make_durable());
  EXPECT_THAT(sidecars(), SizeIs(1));
  must_be(me().make_directory("/other"));
  must_be(me().rename("/other", "/dir"));
  must_be(vfs().make_durable());
  EXPECT_THAT(sidecars(), IsEmpty()) << "replaced by a rename";
  EXPECT_THAT(me().xattr_names("/dir").value(), IsEmpty());
}

/// A loss of power may bring the object back until its removal is on the disk.
TEST_F(XattrsTest, SidecarsWaitForTheRemovalToBeOnTheDisk) {
  for (const char* path : {"/file", "/dir"}) must_be(me().set_xattr(path, "user.a", "x"));
  must_be(me().unlink("/file"));
  must_be(me().remove_directory("/dir"));
  EXPECT_THAT(sidecars(), SizeIs(2));
  store_.reopen();
  EXPECT_THAT(sidecars(), IsEmpty()) << "an end in order leaves nothing";
}

TEST_F(XattrsTest, OfAFileThatIsBeingChanged) {
  must_be(me().set_xattr("/dir", "user.a", "x"));
  {
    const HeldFile open = must_be(me().open("/file"));
    must_be(open.write(0, "changed"));
    EXPECT_THAT(backing_names(store_.backing() + "/.coffer/journal"), SizeIs(1));
    must_be(me().set_xattr("/file", "user.a", "one"));
    EXPECT_EQ(me().xattr("/file", "user.a").value(), "one") << "its header stands in the journal";
    must_be(me().set_xattr("/file", "user.a", "two"));
    EXPECT_EQ(me().xattr("/file", "user.a").value(), "two");
    EXPECT_THAT(sidecars(), SizeIs(2));
  }
  EXPECT_EQ(me().xattr("/file", "user.a").value(), "two");
  store_.reopen();
  EXPECT_THAT(backing_names(store_.backing() + "/.coffer/journal"), IsEmpty());
  EXPECT_EQ(me().xattr("/file", "user.a").value(), "two");
  EXPECT_EQ(me().get("/file").value(), "changed");
}

TEST_F(XattrsTest, NothingInTheClear) {
  must_be(me().set_xattr("/file", "user.secret_name", "secret value of an attribute"));
  must_be(me().set_xattr("/dir", "user.secret_name", "secret value of an attribute"));
  for (const std::string& path : sidecars()) {
    EXPECT_EQ(path.find("secret"), std::string::npos);
    EXPECT_EQ(content_of(path).find("secret"), std::string::npos);
    EXPECT_EQ(content_of(path).substr(0, 8), "COFFER-X");
  }
  EXPECT_THAT(sidecars(), SizeIs(2));
}

TEST_F(XattrsTest, NoKeyIsReleasedWhereThereAreNone) {
  store_.reopen();
  const HeldInode file = must_be(me().find("/file"));
  store_.new_audit();
  EXPECT_EQ(outcome_of(vfs().xattr(me().who(), file.id(), "security.capability")), "ENODATA");
  EXPECT_THAT(vfs().xattr_names(me().who(), file.id()).value(), IsEmpty());
  EXPECT_THAT(store_.new_audit(), IsEmpty()) << "no key was released";
  // Nor in a store that has some.
  must_be(me().set_xattr("/dir", "user.a", "x"));
  store_.new_audit();
  EXPECT_EQ(outcome_of(vfs().xattr(me().who(), file.id(), "security.capability")), "ENODATA");
  EXPECT_THAT(store_.new_audit(), IsEmpty());
}

TEST_F(XattrsTest, AHeaderMadeToNameNoneIsRefused) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  const std::string file = stored("/file");
  tampered([&] {
    std::string content = content_of(file);
    for (const std::size_t slot : {0, 4096}) content.replace(slot + 192, 32, 32, '\0');
    replace(file, content);
  });
  EXPECT_EQ(outcome_of(me().xattr("/file", "user.a")), "ENODATA") << "as the format page says";
  EXPECT_EQ(code_of(me().get("/file")), "rolled-back");
  EXPECT_EQ(code_of(me().set_xattr("/file", "user.a", "x")), "rolled-back");
}

TEST_F(XattrsTest, GrantsDecide) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  must_be(me().set_xattr("/file", "security.label", "l"));
  must_be(me().set_xattr("/dir", "user.a", "x"));
  store_.grant(kRootScope, {"unix:uid:1001"}, kList);
  store_.grant(kRootScope, {"unix:uid:1002"}, kXattrRights);
  for (int again = 0; again < 2; ++again) {
    if (again == 1) store_.reopen();
    for (const std::string path : {"/file", "/dir"}) {
      const HeldInode inode = must_be(me().find(path));
      const auto names = [&](uid_t uid) { return vfs().xattr_names(Who(user(uid)), inode.id()); };
      const auto value = [&](uid_t uid, const char* name) {
        return outcome_of(vfs().xattr(Who(user(uid)), inode.id(), name));
      };
      EXPECT_EQ(outcome_of(names(1000)), "EACCES") << "no grant, " << path;
      EXPECT_EQ(value(1000, "user.a"), "EACCES") << path;
      EXPECT_EQ(outcome_of(names(1001)), kOk) << path;
      EXPECT_EQ(value(1001, "user.a"), "EACCES") << "values are content, " << path;
      EXPECT_EQ(value(1002, "user.a"), kOk) << path;
      EXPECT_EQ(outcome_of(vfs().set_xattr(Who(user(1002)), inode.id(), "user.b", {}, 0)),
                "EACCES");
      EXPECT_EQ(outcome_of(vfs().remove_xattr(Who(user(1002)), inode.id(), "user.a")), "EACCES");
    }
    const HeldInode file = must_be(me().find("/file"));
    EXPECT_EQ(outcome_of(vfs().xattr(Who(user(1001)), file.id(), "security.label")), kOk)
        << "what the kernel asks for goes with the mode";
    EXPECT_EQ(me().xattr("/file", "user.a").value(), "x");
  }
}

TEST_F(XattrsTest, TrustedNamesAreForTheSuperuser) {
  store_.grant(kRootScope, {}, kXattrRights);
  must_be(me().set_xattr("/file", "trusted.a", "x"));
  must_be(me().set_xattr("/file", "user.a", "x"));
  const HeldInode file = must_be(me().find("/file"));
  EXPECT_THAT(vfs().xattr_names(Who(user(0)), file.id()).value(),
              ElementsAre("trusted.a", "user.a"));
  EXPECT_THAT(vfs().xattr_names(Who(user(1001)), file.id()).value(), ElementsAre("user.a"));
}

TEST_F(XattrsTest, ASidecarThatIsGoneIsMissed) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  must_be(me().set_xattr("/dir", "user.a", "x"));
  tampered([&] {
    for (const std::string& path : sidecars()) ASSERT_EQ(::unlink(path.c_str()), 0);
  });
  expect_damaged("/file", "is missing");
  expect_damaged("/dir", "is missing");
  EXPECT_EQ(me().get("/file").value(), "content");
  EXPECT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
}

TEST_F(XattrsTest, EveryAlteredByteOfASidecarIsNoticed) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  must_be(me().set_xattr("/dir", "user.a", "x"));
  for (const std::string& path : sidecars()) {
    const std::string whole = content_of(path);
    for (std::size_t at = 0; at <= whole.size(); ++at) {
      std::string altered = whole + (at == whole.size() ? "x" : "");
      if (at < whole.size()) altered[at] = static_cast<char>(altered[at] ^ 1);
      tampered([&] { replace(path, altered); });
      EXPECT_NE(me().xattr("/file", "user.a").ok(), me().xattr("/dir", "user.a").ok()) << at;
    }
    tampered([&] { replace(path, whole); });
  }
  EXPECT_EQ(me().xattr("/file", "user.a").value(), "x");
  EXPECT_EQ(me().xattr("/dir", "user.a").value(), "x");
}

TEST_F(XattrsTest, SidecarsOfTwoFilesSwapped) {
  must_be(me().put("/other", "content"));
  must_be(me().set_xattr("/file", "user.a", "one"));
  must_be(me().set_xattr("/other", "user.a", "two"));
  tampered([&] {
    const auto both = sidecars();
    ASSERT_EQ(both.size(), 2U);
    ASSERT_EQ(::renameat2(AT_FDCWD, both[0].c_str(), AT_FDCWD, both[1].c_str(), RENAME_EXCHANGE),
              0);
  });
  expect_damaged("/file", "was altered");
  expect_damaged("/other", "was altered");
}

TEST_F(XattrsTest, AnOldSidecarPutBack) {
  for (const std::string path : {"/file", "/dir"}) {
    must_be(me().set_xattr(path, "user.a", "one"));
    const std::string old = sidecars().back();
    const std::string kept = store_.beside("kept");
    std::filesystem::copy_file(old, kept, std::filesystem::copy_options::overwrite_existing);
    must_be(me().set_xattr(path, "user.a", "two"));
    const std::string now = sidecars().back();
    tampered([&] {
      std::filesystem::copy_file(kept, old);
      std::filesystem::copy_file(kept, now, std::filesystem::copy_options::overwrite_existing);
    });
    expect_damaged(path, "was altered");
    std::filesystem::remove(old);
    std::filesystem::remove(now);
  }
}

TEST_F(XattrsTest, AnOldSidecarPutBackWithItsHeader) {
  must_be(me().set_xattr("/file", "user.a", "one"));
  const std::string file = stored("/file");
  const std::string old = sidecars().back();
  store_.close();
  std::filesystem::copy_file(file, store_.beside("file"));
  std::filesystem::copy_file(old, store_.beside("sidecar"));
  store_.open();
  must_be(me().set_xattr("/file", "user.a", "two"));
  tampered([&] {
    std::filesystem::copy_file(store_.beside("file"), file,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::copy_file(store_.beside("sidecar"), old);
  });
  EXPECT_EQ(code_of(me().xattr("/file", "user.a")), "rolled-back");
  EXPECT_EQ(code_of(me().xattr_names("/file")), "rolled-back");
}

TEST_F(XattrsTest, AKeystoreFromBeforeTheFirstIsReportedAndNotBelieved) {
  store_.close();
  std::filesystem::copy_file(store_.beside("keystore.db"), store_.beside("old.db"));
  store_.open();
  must_be(me().set_xattr("/dir", "user.a", "x"));
  // Its key was there before.
  must_be(me().set_xattr("/file", "user.a", "x"));
  tampered([&] {
    for (const char* const part : {"keystore.db-wal", "keystore.db-shm"}) {
      std::filesystem::remove(store_.beside(part));
    }
    std::filesystem::copy_file(store_.beside("old.db"), store_.beside("keystore.db"),
                               std::filesystem::copy_options::overwrite_existing);
  });
  store_.allow_reports();
  EXPECT_EQ(outcome_of(me().xattr("/file", "user.a")), "ENODATA") << "as the format page says";
  EXPECT_EQ(me().get("/file").value(), "content");
  EXPECT_THAT(store_.reports(), ElementsAre(HasSubstr("put back to an earlier state")));
  EXPECT_EQ(me().xattr("/file", "user.a").value(), "x");
  EXPECT_EQ(me().xattr("/dir", "user.a").value(), "x");
}

TEST_F(XattrsTest, ReadOnly) {
  must_be(me().set_xattr("/file", "user.a", "x"));
  store_.reopen({.read_only = true});
  EXPECT_EQ(me().xattr("/file", "user.a").value(), "x");
  EXPECT_EQ(outcome_of(me().set_xattr("/file", "user.a", "y")), "EROFS");
  EXPECT_EQ(outcome_of(me().remove_xattr("/file", "user.a")), "EROFS");
}

}  // namespace
}  // namespace coffer
