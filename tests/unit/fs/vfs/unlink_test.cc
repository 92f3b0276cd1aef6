// Removing names, and what becomes of files that are open and of their keys.

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class UnlinkTest : public StoreTest {
 protected:
  std::size_t keys(KeyState state) { return store_.key_states()[state]; }
};

TEST_F(UnlinkTest, AFileIsGoneAndItsKeyDeactivated) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  EXPECT_EQ(keys(KeyState::kActive), 1U);
  EXPECT_EQ(keys(KeyState::kDeactivated), 0U);
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(outcome_of(me().status("/file")), "ENOENT");
  EXPECT_EQ(outcome_of(me().unlink("/file")), "ENOENT");
  EXPECT_EQ(keys(KeyState::kActive), 0U);
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

TEST_F(UnlinkTest, EmptyFilesToo) {
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/node", S_IFREG | 0600)), kOk);
  EXPECT_EQ(keys(KeyState::kActive), 2U);
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  ASSERT_EQ(outcome_of(me().unlink("/node")), kOk);
  EXPECT_EQ(keys(KeyState::kDeactivated), 2U);
}

TEST_F(UnlinkTest, AnOpenFileLivesUntilItsLastHandleCloses) {
  HeldFile writer = me().create("/file").value();
  ASSERT_TRUE(writer.write(0, "content").ok());
  HeldFile reader = me().open("/file", O_RDONLY).value();
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(outcome_of(me().open("/file")), "ENOENT");
  EXPECT_EQ(reader.read().value(), "content");
  ASSERT_TRUE(writer.write(7, " and more").ok());
  ASSERT_EQ(outcome_of(writer.flush()), kOk);
  ASSERT_EQ(outcome_of(vfs().sync(writer.handle(), false)), kOk);
  EXPECT_EQ(reader.read().value(), "content and more");
  writer.close();
  EXPECT_EQ(keys(KeyState::kDeactivated), 0U);
  EXPECT_EQ(reader.read().value(), "content and more");
  reader.close();
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
  EXPECT_EQ(keys(KeyState::kActive), 0U);
}

TEST_F(UnlinkTest, TheNameCanBeTakenAgainMeanwhile) {
  const HeldFile old_file = me().create("/file").value();
  ASSERT_TRUE(old_file.write(0, "old").ok());
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  ASSERT_EQ(outcome_of(me().put("/file", "new")), kOk);
  EXPECT_EQ(old_file.read().value(), "old");
  EXPECT_EQ(me().get("/file").value(), "new");
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(old_file.read().value(), "old");
}

TEST_F(UnlinkTest, AReadHandleIsEnoughToKeepAFile) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  store_.reopen();
  const HeldFile reader = me().open("/file", O_RDONLY).value();
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(reader.read().value(), "content");
}

TEST_F(UnlinkTest, AnInodeNumberThatIsGivenAgainIsAnotherFile) {
  // ext4 gives the number of a deleted file to the next one.
  for (int i = 0; i < 50; ++i) {
    const std::string content = "content " + std::to_string(i);
    ASSERT_EQ(outcome_of(me().put("/file", content)), kOk);
    const HeldInode before = me().find("/file").value();
    ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
    ASSERT_EQ(outcome_of(me().put("/file", "other")), kOk);
    const HeldInode after = me().find("/file").value();
    EXPECT_NE(before.id(), after.id());
    EXPECT_EQ(me().get("/file").value(), "other");
    ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  }
}

TEST_F(UnlinkTest, WhatIsUnmountedWithADeletedFileOpenLeavesNoLiveKey) {
  {
    const HeldFile file = me().create("/file").value();
    ASSERT_TRUE(file.write(0, "content").ok());
    ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
    // The program ends without the kernel's having closed it.
    ASSERT_EQ(outcome_of(vfs().finish()), kOk);
    EXPECT_EQ(keys(KeyState::kActive), 0U);
    EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
  }
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
}

TEST_F(UnlinkTest, AFileThatCanNotBeOpenedCanBeRemoved) {
  ASSERT_EQ(outcome_of(me().put("/file", std::string(5000, 'x'))), kOk);
  const ino_t number = me().status("/file")->st_ino;
  store_.close();
  const std::string stored = store_.backing(stored_name(store_.backing(), number));
  // Both headers gone; the size is still that of a file.
  ByteVector bytes = file_bytes(stored);
  std::fill_n(bytes.begin(), 8192, std::uint8_t{0});
  const int fd = ::open(stored.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::pwrite(fd, bytes.data(), 8192, 0), 8192);
  ::close(fd);
  store_.open();
  EXPECT_EQ(outcome_of(me().open("/file")), "EIO");
  EXPECT_EQ(outcome_of(me().rename("/file", "/other")), "EIO");
  EXPECT_EQ(outcome_of(me().unlink("/file")), kOk);
  EXPECT_EQ(outcome_of(me().status("/file")), "ENOENT");
}

TEST_F(UnlinkTest, KeysOfAFileReplacedByRename) {
  ASSERT_EQ(outcome_of(me().put("/old", "old")), kOk);
  ASSERT_EQ(outcome_of(me().put("/new", "new")), kOk);
  HeldFile open = me().open("/old").value();
  ASSERT_EQ(outcome_of(me().rename("/new", "/old")), kOk);
  EXPECT_EQ(open.read().value(), "old");
  EXPECT_EQ(me().get("/old").value(), "new");
  EXPECT_EQ(keys(KeyState::kDeactivated), 0U);
  ASSERT_TRUE(open.write(0, "OLD").ok());
  EXPECT_EQ(me().get("/old").value(), "new");
  open.close();
  EXPECT_EQ(keys(KeyState::kDeactivated), 1U);
  EXPECT_EQ(keys(KeyState::kActive), 1U);
}

TEST_F(UnlinkTest, AKeyIsUsedByOneFileAlone) {
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(outcome_of(me().put("/f" + std::to_string(i), "")), kOk);
  }
  EXPECT_EQ(keys(KeyState::kActive), 300U);
  for (int i = 0; i < 300; i += 2) {
    ASSERT_EQ(outcome_of(me().unlink("/f" + std::to_string(i))), kOk);
  }
  EXPECT_EQ(keys(KeyState::kActive), 150U);
  store_.reopen();
  for (int i = 1; i < 300; i += 2) {
    EXPECT_EQ(outcome_of(me().get("/f" + std::to_string(i))), kOk);
  }
}

/// Of an open fifo only the kernel is told: it knows the inode, and may ask for its attributes.
TEST_F(UnlinkTest, ANodeThatTheKernelKnowsKeepsItsAttributes) {
  const auto links = [&](const HeldInode& inode) {
    return vfs().attributes(me().who(), inode.id()).value().st_nlink;
  };
  for (const char* path : {"/one", "/two", "/three"})
    ASSERT_EQ(outcome_of(me().make_node(path, S_IFIFO | 0640)), kOk);
  ASSERT_EQ(outcome_of(me().link("/three", "/fourth")), kOk);
  const HeldInode one = must_be(me().find("/one"));
  const HeldInode two = must_be(me().find("/two"));
  const HeldInode three = must_be(me().find("/three"));
  ASSERT_EQ(outcome_of(me().unlink("/one")), kOk);
  EXPECT_EQ(links(one), 0U);
  EXPECT_EQ(vfs().attributes(me().who(), one.id())->st_mode, static_cast<mode_t>(S_IFIFO | 0640));
  AttributeChange change;
  change.mode = 0600;
  EXPECT_EQ(outcome_of(vfs().change_attributes(me().who(), one.id(), change, nullptr)), "ESTALE");
  ASSERT_EQ(outcome_of(me().make_node("/other", S_IFSOCK | 0600)), kOk);
  ASSERT_EQ(outcome_of(me().rename("/other", "/two")), kOk);
  EXPECT_EQ(links(two), 0U) << "replaced";
  ASSERT_EQ(outcome_of(me().unlink("/three")), kOk);
  EXPECT_EQ(links(three), 1U);
  ASSERT_EQ(outcome_of(me().unlink("/fourth")), kOk);
  EXPECT_EQ(links(three), 0U);
  ASSERT_EQ(outcome_of(me().unlink("/two")), kOk) << "the socket, which nobody holds";
}

}  // namespace
}  // namespace coffer
