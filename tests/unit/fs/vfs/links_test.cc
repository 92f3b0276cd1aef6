// Symlinks and hard links.

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SymlinksTest : public StoreTest {};

/// A target whose every part tells where it stands.
std::string target_of(std::size_t length) {
  std::string text;
  while (text.size() < length) text += "/" + std::to_string(text.size());
  return text.substr(0, length);
}

TEST_F(SymlinksTest, TargetsOfEachLength) {
  // 3023 is the last that fits the backing's own symlink; the longer have a sidecar.
  const std::vector<std::size_t> lengths = {1,    2,    3,    10,   255,  256,  1000, 2048,
                                            3022, 3023, 3024, 3025, 4000, 4094, 4095};
  for (const std::size_t length : lengths) {
    const std::string path = "/l" + std::to_string(length);
    ASSERT_EQ(outcome_of(me().make_symlink(target_of(length), path)), kOk) << length;
  }
  for (int opening = 0; opening < 2; ++opening) {
    for (const std::size_t length : lengths) {
      const std::string path = "/l" + std::to_string(length);
      EXPECT_EQ(me().read_symlink(path).value(), target_of(length));
      EXPECT_EQ(me().status(path)->st_size, static_cast<off_t>(length));
    }
    store_.reopen();
  }
  std::size_t sidecars = 0;
  for (const std::string& name : backing_names(store_.backing())) {
    if (name.starts_with(".coffer.target.")) ++sidecars;
  }
  EXPECT_EQ(sidecars, 5U);
}

TEST_F(SymlinksTest, ArbitraryBytes) {
  std::string target;
  for (int byte = 1; byte < 256; ++byte) target += static_cast<char>(byte);
  ASSERT_EQ(outcome_of(me().make_symlink(target, "/link")), kOk);
  EXPECT_EQ(me().read_symlink("/link").value(), target);
}

TEST_F(SymlinksTest, TargetsThatCanNotBe) {
  EXPECT_EQ(outcome_of(me().make_symlink("", "/link")), "ENOENT");
  EXPECT_EQ(outcome_of(me().make_symlink(std::string(4096, 'x'), "/link")), "ENAMETOOLONG");
  EXPECT_THAT(me().list("/").value(), IsEmpty());
}

TEST_F(SymlinksTest, TheTargetDoesNotShowInTheBacking) {
  ASSERT_EQ(outcome_of(me().make_symlink("secret", "/short")), kOk);
  const std::string stored =
      store_.backing(stored_name(store_.backing(), me().status("/short")->st_ino));
  std::string text(4096, '\0');
  const ssize_t length = ::readlink(stored.c_str(), text.data(), text.size());
  ASSERT_GT(length, 0);
  EXPECT_EQ(text.find("secret"), std::string::npos);
}

TEST_F(SymlinksTest, ReadlinkIsForSymlinks) {
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  EXPECT_EQ(outcome_of(me().read_symlink("/file")), "EINVAL");
  EXPECT_EQ(outcome_of(vfs().read_symlink(Who(Caller::self()), InodeId{99})), "ESTALE");
}

TEST_F(SymlinksTest, SidecarsComeAndGo) {
  const std::string target = target_of(4000);
  const std::string name = "/" + std::string(255, 'n');
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink(target, name)), kOk);
  EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
  ASSERT_EQ(outcome_of(me().rename(name, "/short")), kOk);
  EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
  ASSERT_EQ(outcome_of(me().rename("/short", "/dir" + name)), kOk);
  EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
  EXPECT_EQ(me().read_symlink("/dir" + name).value(), target);
  ASSERT_EQ(outcome_of(me().make_symlink(target_of(4001), "/other")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/other", "/dir" + name)), kOk);
  EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
  EXPECT_EQ(me().read_symlink("/dir" + name).value(), target_of(4001));
  ASSERT_EQ(outcome_of(me().unlink("/dir" + name)), kOk);
  EXPECT_THAT(backing_names(store_.backing()).size(), 3U) << ".coffer, the record, the directory";
  ASSERT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
}

TEST_F(SymlinksTest, ASymlinkIsFoundByItsInodeAfterARename) {
  ASSERT_EQ(outcome_of(me().make_symlink("target", "/link")), kOk);
  const HeldInode inode = me().find("/link").value();
  ASSERT_EQ(outcome_of(me().rename("/link", "/moved")), kOk);
  EXPECT_EQ(vfs().read_symlink(Who(Caller::self()), inode.id()).value(), "target");
  EXPECT_TRUE(vfs().attributes(Who(Caller::self()), inode.id()).ok());
  const HeldInode again = me().find("/moved").value();
  EXPECT_EQ(again.id(), inode.id());
}

class HardLinksTest : public StoreTest {
 protected:
  nlink_t links(const std::string& path) { return me().status(path).value().st_nlink; }
};

TEST_F(HardLinksTest, OneFileUnderManyNames) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  const std::string long_name = "/b/" + std::string(255, 'n');
  ASSERT_EQ(outcome_of(me().put("/a/one", "first")), kOk);
  ASSERT_EQ(outcome_of(me().link("/a/one", "/a/two")), kOk);
  ASSERT_EQ(outcome_of(me().link("/a/two", "/b/three")), kOk);
  ASSERT_EQ(outcome_of(me().link("/b/three", long_name)), kOk);
  for (int opening = 0; opening < 2; ++opening) {
    const HeldInode inode = me().find("/a/one").value();
    for (const std::string& path : {std::string("/a/two"), std::string("/b/three"), long_name}) {
      EXPECT_EQ(me().get(path).value(), "first");
      EXPECT_EQ(links(path), 4U);
      const HeldInode same = me().find(path).value();
      EXPECT_EQ(same.id(), inode.id());
    }
    if (opening == 0) {
      HeldInode gone(vfs(), kRootInode);
    }
  }
  ASSERT_EQ(outcome_of(me().put("/b/three", "second")), kOk);
  EXPECT_EQ(me().get("/a/one").value(), "second");
  store_.reopen();
  EXPECT_EQ(me().get(long_name).value(), "second");
}

TEST_F(HardLinksTest, UnlinkedInEachOrder) {
  std::vector<std::string> order = {"/a/one", "/b/two", "/three"};
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  do {
    ASSERT_EQ(outcome_of(me().put("/a/one", "content")), kOk);
    ASSERT_EQ(outcome_of(me().link("/a/one", "/b/two")), kOk);
    ASSERT_EQ(outcome_of(me().link("/a/one", "/three")), kOk);
    for (std::size_t gone = 0; gone < order.size(); ++gone) {
      ASSERT_EQ(outcome_of(me().unlink(order[gone])), kOk);
      EXPECT_EQ(outcome_of(me().status(order[gone])), "ENOENT");
      store_.reopen();
      for (std::size_t left = gone + 1; left < order.size(); ++left) {
        EXPECT_EQ(me().get(order[left]).value(), "content") << order[left];
        EXPECT_EQ(links(order[left]), order.size() - gone - 1);
      }
    }
  } while (std::next_permutation(order.begin(), order.end()));
  const auto states = store_.key_states();
  EXPECT_EQ(states.count(KeyState::kActive), 0U);
  EXPECT_EQ(states.at(KeyState::kDeactivated), 6U);
}

TEST_F(HardLinksTest, AFileWhoseOtherLinkWasNeverLookedUpStaysOneFile) {
  ASSERT_EQ(outcome_of(me().put("/one", "content")), kOk);
  ASSERT_EQ(outcome_of(me().link("/one", "/two")), kOk);
  store_.reopen();
  const HeldFile open = me().open("/one").value();
  ASSERT_EQ(outcome_of(me().unlink("/one")), kOk);
  ASSERT_EQ(open.write(0, "C").value(), 1U);
  const HeldFile second = me().open("/two").value();
  EXPECT_EQ(second.inode(), open.inode());
  EXPECT_EQ(second.read().value(), "Content");
  ASSERT_EQ(second.write(1, "O").value(), 1U);
  EXPECT_EQ(open.read().value(), "COntent");
}

TEST_F(HardLinksTest, TheSameWhereALinkIsReplaced) {
  ASSERT_EQ(outcome_of(me().put("/one", "content")), kOk);
  ASSERT_EQ(outcome_of(me().link("/one", "/two")), kOk);
  ASSERT_EQ(outcome_of(me().put("/new", "new")), kOk);
  store_.reopen();
  const HeldFile open = me().open("/one").value();
  ASSERT_EQ(outcome_of(me().rename("/new", "/one")), kOk);
  ASSERT_EQ(open.write(0, "C").value(), 1U);
  const HeldFile second = me().open("/two").value();
  EXPECT_EQ(second.inode(), open.inode());
  EXPECT_EQ(second.read().value(), "Content");
}

TEST_F(HardLinksTest, AnInodeKeepsAWayAsLongAsThereIsOne) {
  ASSERT_EQ(outcome_of(me().put("/one", "content")), kOk);
  ASSERT_EQ(outcome_of(me().link("/one", "/two")), kOk);
  const HeldInode by_one = me().find("/one").value();
  const HeldInode by_two = me().find("/two").value();
  const Who who(Caller::self());
  ASSERT_EQ(outcome_of(me().unlink("/two")), kOk);
  EXPECT_EQ(vfs().attributes(who, by_two.id())->st_nlink, 1U);
  HeldFile file(vfs(), me().find("/one").value(), vfs().open(who, by_two.id(), O_RDONLY).value());
  EXPECT_EQ(file.read().value(), "content");
}

TEST_F(HardLinksTest, RefusedOnes) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().put("/there", "there")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("file", "/link")), kOk);
  EXPECT_EQ(outcome_of(me().link("/file", "/there")), "EEXIST");
  EXPECT_EQ(outcome_of(me().link("/file", "/file")), "EEXIST");
  EXPECT_EQ(outcome_of(me().link("/link", "/new")), "EPERM");
  EXPECT_EQ(outcome_of(me().link("/dir", "/new")), "EPERM");
  EXPECT_EQ(outcome_of(me().link("/missing", "/new")), "ENOENT");
  EXPECT_EQ(outcome_of(me().link("/file", "/missing/new")), "ENOENT");
  EXPECT_EQ(outcome_of(me().link("/file", "/there/new")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().link("/file", "/" + std::string(256, 'n'))), "ENAMETOOLONG");
  EXPECT_EQ(links("/file"), 1U);
  EXPECT_EQ(links("/there"), 1U);
  const HeldInode inode = me().find("/there").value();
  ASSERT_EQ(outcome_of(me().unlink("/there")), kOk);
  EXPECT_EQ(outcome_of(vfs().link(Who(Caller::self()), inode.id(), kRootInode, "new")), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().link(Who(Caller::self()), InodeId{99}, kRootInode, "new")), "ESTALE");
}

TEST_F(HardLinksTest, AFifoMayHaveSeveralNames) {
  ASSERT_EQ(outcome_of(me().make_node("/fifo", S_IFIFO | 0600)), kOk);
  ASSERT_EQ(outcome_of(me().link("/fifo", "/other")), kOk);
  EXPECT_EQ(links("/fifo"), 2U);
  ASSERT_EQ(outcome_of(me().unlink("/fifo")), kOk);
  EXPECT_EQ(links("/other"), 1U);
}

TEST_F(HardLinksTest, AsManyAsTheHeaderHolds) {
  ASSERT_EQ(outcome_of(me().put("/f1", "content")), kOk);
  for (int i = 2; i <= 238; ++i) {
    ASSERT_EQ(outcome_of(me().link("/f1", "/f" + std::to_string(i))), kOk) << i;
  }
  EXPECT_EQ(outcome_of(me().link("/f1", "/" + std::string(200, 'x'))), "EMLINK");
  EXPECT_EQ(outcome_of(me().rename("/f1", "/renamed")), "EMLINK") << "needs one for the time being";
  EXPECT_EQ(links("/f1"), 238U);
  store_.reopen();
  EXPECT_EQ(me().get("/f238").value(), "content");
  ASSERT_EQ(outcome_of(me().unlink("/f100")), kOk);
  EXPECT_EQ(outcome_of(me().link("/f1", "/again")), kOk);
  EXPECT_EQ(me().get("/again").value(), "content");
}

}  // namespace
}  // namespace coffer
