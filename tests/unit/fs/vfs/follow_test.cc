// A read-only filesystem beside the one that writes: what it follows, and what it tells the kernel.

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/keystore_audit_keys.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class FollowTest : public StoreTest {
 protected:
  void SetUp() override {
    const std::string keystore = store_.beside("keystore.db");
    master_ = open_master(Keyring::peek(keystore).value().master, [](bool) {
                return Result<SecretBytes>(Error{Code::kInvalid, 0, "none here"});
              }).value();
    keyring_ =
        Keyring::open(keystore, Keyring::Access::kReadOnly, store_.id(), *master_, store_.clock())
            .value();
    audit_ = AuditLog::open(store_.beside("reader/log"), store_.id(), store_.clock(),
                            testing::audit_keys())
                 .value();
    broker_ = KeyBroker::create(*keyring_, *audit_, store_.clock()).value();
    Vfs::Options options;
    options.read_only = true;
    options.for_kernel = true;
    options.writing = [this] { return writing_; };
    reader_ =
        Vfs::create(store_.backing(), store_.id(), engine_, *broker_, nullptr, options).value();
  }
  void TearDown() override {
    EXPECT_EQ(reader_->counts().inodes, 1U);
    EXPECT_EQ(reader_->counts().open_files, 0U);
    reader_.reset();
    StoreTest::TearDown();
  }

  PathUser them() { return PathUser(*reader_); }
  /// Writes into a file that stays open, and syncs.
  void put_synced(const HeldFile& file, std::uint64_t offset, std::string_view text) {
    ASSERT_TRUE(file.write(offset, text).ok());
    ASSERT_EQ(outcome_of(vfs().sync(file.handle(), false)), kOk);
  }
  void put_backing(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  static std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  Writing writing_ = Writing::kNow;
  AeadEngine engine_ = AeadEngine::create().value();
  std::unique_ptr<MasterKms> master_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<KeyBroker> broker_;
  std::unique_ptr<Vfs> reader_;
};

TEST_F(FollowTest, ANewOpenFollowsAtOnceAndDropsPages) {
  const HeldFile writer = me().create("/file").value();
  put_synced(writer, 0, "old content");
  const HeldFile first = them().open("/file", O_RDONLY).value();
  EXPECT_EQ(first.read().value(), "old content");
  EXPECT_TRUE(them().open("/file", O_RDONLY).value().handle().pages_hold);
  put_synced(writer, 0, "new content, longer");
  const HeldFile second = them().open("/file", O_RDONLY).value();
  EXPECT_FALSE(second.handle().pages_hold);
  EXPECT_EQ(second.read().value(), "new content, longer");
  EXPECT_EQ(first.read().value(), "new content, longer");
  EXPECT_TRUE(them().open("/file", O_RDONLY).value().handle().pages_hold);
}

TEST_F(FollowTest, PagesOfAClosedFileAreKnownToBeOld) {
  ASSERT_EQ(outcome_of(me().put("/file", "old")), kOk);
  const HeldInode inode = them().find("/file").value();  // as the kernel holds it
  EXPECT_EQ(them().get("/file").value(), "old");
  EXPECT_TRUE(them().open("/file", O_RDONLY).value().handle().pages_hold);
  ASSERT_EQ(outcome_of(me().put("/file", "new")), kOk);
  EXPECT_FALSE(them().open("/file", O_RDONLY).value().handle().pages_hold);
  EXPECT_EQ(them().get("/file").value(), "new");
}

TEST_F(FollowTest, AttributesFollow) {
  const HeldFile writer = me().create("/file").value();
  put_synced(writer, 0, "12345");
  const HeldFile file = them().open("/file", O_RDONLY).value();
  put_synced(writer, 5, "67890");
  EXPECT_EQ(them().status("/file").value().st_size, 10);
  EXPECT_EQ(file.read().value(), "1234567890");
  EXPECT_FALSE(them().open("/file", O_RDONLY).value().handle().pages_hold) << "some may be older";
}

TEST_F(FollowTest, AnOldHandleFollowsWithinASecond) {
  const HeldFile writer = me().create("/file").value();
  put_synced(writer, 0, "old");
  const HeldFile file = them().open("/file", O_RDONLY).value();
  put_synced(writer, 0, "new");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_EQ(file.read().value(), "new");
}

TEST_F(FollowTest, AStateThatWentAwayIsNoError) {
  HeldFile writer = me().create("/file").value();
  put_synced(writer, 0, "old");
  const HeldFile file = them().open("/file", O_RDONLY).value();
  put_synced(writer, 0, "new");
  writer.close();
  vfs().settle_closed();  // applied: the old bytes are gone
  EXPECT_EQ(file.read().value(), "new");
}

TEST_F(FollowTest, DamageIsAnErrorWhileSomebodyWrites) {
  ASSERT_EQ(outcome_of(me().put("/file", std::string(5000, 'x'))), kOk);
  vfs().settle_closed();
  const HeldFile file = them().open("/file", O_RDONLY).value();
  const std::string path = stored("/file");
  const std::string whole = bytes_of(path);
  std::string damaged = whole;
  damaged[damaged.size() - 1] ^= 1;
  put_backing(path, damaged);
  EXPECT_EQ(code_of(file.read()), to_string(Code::kCorrupt));
  put_backing(path, whole);
  EXPECT_EQ(file.read().value(), std::string(5000, 'x'));
}

TEST_F(FollowTest, NoReaderGoesBack) {
  ASSERT_EQ(outcome_of(me().put("/file", "old")), kOk);
  vfs().settle_closed();
  const std::string path = stored("/file");
  const std::string older = bytes_of(path);
  ASSERT_EQ(outcome_of(me().put("/file", "new")), kOk);
  vfs().settle_closed();
  const std::string newer = bytes_of(path);
  const HeldInode inode = them().find("/file").value();
  {
    const HeldFile file = them().open("/file", O_RDONLY).value();
    EXPECT_EQ(file.read().value(), "new");
    put_backing(path, older);
    EXPECT_EQ(code_of(them().open("/file", O_RDONLY)), to_string(Code::kRolledBack));
  }
  // Closed, it remembers, and so does the keystore.
  EXPECT_EQ(code_of(them().open("/file", O_RDONLY)), to_string(Code::kRolledBack));
  put_backing(path, newer);
  EXPECT_EQ(them().get("/file").value(), "new");
}

TEST_F(FollowTest, WhatIsBeingMadeIsNoDamage) {
  ASSERT_EQ(outcome_of(me().put("/file", std::string(5000, 'x'))), kOk);
  vfs().settle_closed();
  const std::string path = stored("/file");
  const std::string whole = bytes_of(path);
  const auto outcomes = [&] {
    put_backing(path, "");
    std::string both = outcome_of(them().status("/file"));
    put_backing(path, whole + std::string(100'000, '\0'));
    std::filesystem::resize_file(path, kBodyOffset + std::uint64_t{129} * 4096 + 100);
    const auto status = them().status("/file");
    both += " " + (status ? std::to_string(status->st_size) : outcome_of(status.error()));
    put_backing(path, whole);
    return both;
  };
  EXPECT_EQ(outcomes(), "ENOENT " + std::to_string(128 * 4096));
  writing_ = Writing::kNone;
  EXPECT_EQ(outcomes(), "EIO EIO");
}

TEST_F(FollowTest, AnotherFileWithTheNumberOfAnOldOneIsNotTakenForIt) {
  InodeTable table(BackingId{1, 1});
  const Place place{kRootInode, "name", "stored"};
  const InodeId inode = table.remember({1, 2}, S_IFREG, place);
  FileId one;
  FileId other;
  other.bytes[0] = 1;
  EXPECT_FALSE(table.note_opened(inode, one, 5));
  EXPECT_TRUE(table.note_opened(inode, one, 5));
  EXPECT_EQ(table.noted_generation(inode, one), 5U);
  EXPECT_EQ(table.noted_generation(inode, other), 0U);
  table.note_changed(inode, 6);
  EXPECT_FALSE(table.note_opened(inode, one, 6)) << "some of its pages are of 5";
  EXPECT_FALSE(table.note_opened(inode, other, 6));
}

}  // namespace
}  // namespace coffer
