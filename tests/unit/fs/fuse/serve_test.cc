// The frame around every callback: what is logged, and that every operation has one.

#include "fs/fuse/serve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <sstream>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(WorthLogging, TroubleOfTheStoreIsAndTheCallersOwnMistakesAreNot) {
  EXPECT_TRUE(worth_logging({Code::kCorrupt, EIO, ""}));
  EXPECT_TRUE(worth_logging({Code::kKeyUnavailable, 0, ""}));
  EXPECT_TRUE(worth_logging(errno_error(ENOSPC)));
  EXPECT_TRUE(worth_logging(errno_error(EMFILE)));
  EXPECT_FALSE(worth_logging(errno_error(ENOENT)));
  EXPECT_FALSE(worth_logging({Code::kDenied, 0, ""}));
}

TEST(WorthLogging, LimitsOfTheFormatAreNot) {
  EXPECT_FALSE(worth_logging(errno_error(EFBIG)));
  EXPECT_FALSE(worth_logging(errno_error(EMLINK)));
}

class LogFailureTest : public StoreTest {
 protected:
  std::string logged(InodeId inode, const Error& error) {
    FuseContext context{.vfs = vfs(), .logger = logger_};
    log_failure(context, "open", inode.value, error);
    logger_.flush();
    return text_.str();
  }

  std::ostringstream text_;
  spdlog::logger logger_{"test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)};
};

TEST_F(LogFailureTest, TheLineNamesOperationPathCauseAndWhatToDo) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldInode file = me().find("/file").value();
  const std::string line = logged(file.id(), {Code::kCorrupt, 0, "the header is damaged"});
  EXPECT_THAT(line, HasSubstr("open /file: the header is damaged [corrupt]; run 'coffer verify'"));
}

TEST_F(LogFailureTest, APathThatTheErrorNamesIsNotRepeated) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldInode file = me().find("/file").value();
  const std::string line = logged(file.id(), {Code::kCorrupt, 0, "/file: the header is damaged"});
  EXPECT_THAT(line, HasSubstr("open /file: the header is damaged [corrupt]"));
  EXPECT_THAT(line, Not(HasSubstr("/file: /file")));
}

TEST_F(LogFailureTest, NothingIsLoggedOfTheCallersOwnMistakes) {
  EXPECT_THAT(logged(kRootInode, errno_error(ENOENT, "/missing")), IsEmpty());
}

TEST_F(LogFailureTest, AnInodeThatIsGoneIsNoTrouble) {
  EXPECT_THAT(logged(InodeId{999}, errno_error(EIO, "read")), HasSubstr("(deleted)"));
}

TEST(FuseOperations, EachThatTheFilesystemOffersIsThere) {
  const fuse_lowlevel_ops& ops = fuse_operations();
  EXPECT_TRUE(ops.init && ops.lookup && ops.forget && ops.forget_multi && ops.getattr &&
              ops.setattr);
  EXPECT_TRUE(ops.readlink && ops.mknod && ops.mkdir && ops.unlink && ops.rmdir && ops.symlink &&
              ops.rename && ops.link);
  EXPECT_TRUE(ops.open && ops.create && ops.read && ops.write && ops.flush && ops.fsync &&
              ops.release);
  EXPECT_TRUE(ops.opendir && ops.readdir && ops.readdirplus && ops.releasedir && ops.fsyncdir &&
              ops.statfs);
  EXPECT_TRUE(ops.getlk && ops.setlk && ops.flock);
}

TEST(FuseOperations, WhatIsNotOfferedIsLeftToTheKernel) {
  const fuse_lowlevel_ops& ops = fuse_operations();
  // The kernel answers for itself: access within one mount, copying by reads and writes.
  EXPECT_FALSE(ops.access);
  EXPECT_FALSE(ops.copy_file_range || ops.ioctl || ops.bmap);
}

}  // namespace
}  // namespace coffer
