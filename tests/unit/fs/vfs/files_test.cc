// Files: making, opening, reading, writing, closing.

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class FilesTest : public StoreTest {};

TEST_F(FilesTest, WhatIsWrittenIsReadBackAfterReopening) {
  const std::string content(10000, 'x');
  ASSERT_EQ(outcome_of(me().put("/file", content)), kOk);
  EXPECT_EQ(me().get("/file").value(), content);
  store_.reopen();
  EXPECT_EQ(me().get("/file").value(), content);
}

TEST_F(FilesTest, NothingOfContentOrNameShowsInTheBacking) {
  const std::string content = "a secret that has to be looked for, and is long enough to be found";
  ASSERT_EQ(outcome_of(me().put("/telling-name", content)), kOk);
  store_.close();
  for (const std::string& name : backing_names(store_.backing())) {
    EXPECT_EQ(name.find("telling"), std::string::npos);
    struct stat status {};
    ASSERT_EQ(::lstat(store_.backing(name).c_str(), &status), 0);
    if (!S_ISREG(status.st_mode)) continue;
    EXPECT_FALSE(contains(file_bytes(store_.backing(name)), as_bytes("secret"))) << name;
  }
}

TEST_F(FilesTest, CreateGivesAnEmptyFileOfTheCaller) {
  auto created = vfs().create_file(Who(Caller::self()), kRootInode, "new", 0640, O_RDWR);
  ASSERT_TRUE(created.ok());
  const struct stat& status = created->entry.attributes;
  EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_EQ(status.st_uid, ::geteuid());
  EXPECT_EQ(status.st_size, 0);
  EXPECT_EQ(status.st_nlink, 1U);
  vfs().release(std::move(created->handle));
  vfs().forget(created->entry.inode, 1);
}

TEST_F(FilesTest, CreateOfWhatIsThere) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("file", "/link")), kOk);
  EXPECT_EQ(outcome_of(me().create("/file", 0644, O_RDWR | O_CREAT | O_EXCL)), "EEXIST");
  EXPECT_EQ(outcome_of(me().create("/dir", 0644, O_RDWR | O_CREAT | O_EXCL)), "EEXIST");
  EXPECT_EQ(outcome_of(me().create("/dir", 0644, O_RDWR | O_CREAT)), "EISDIR");
  EXPECT_EQ(outcome_of(me().create("/link", 0644, O_RDWR | O_CREAT)), "ELOOP");
  {
    const auto opened = me().create("/file", 0644, O_RDWR | O_CREAT);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened->read().value(), "content");
  }
  const auto cut = me().create("/file", 0644, O_RDWR | O_CREAT | O_TRUNC);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->read().value(), "");
}

TEST_F(FilesTest, CreateInWhatIsNoDirectory) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("dir", "/link")), kOk);
  EXPECT_EQ(outcome_of(me().create("/file/below")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().create("/link/below")), "ENOTDIR");
  EXPECT_EQ(outcome_of(me().create("/missing/below")), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().create_file(Who(Caller::self()), InodeId{999}, "x", 0644, O_RDWR)),
            "ESTALE");
}

TEST_F(FilesTest, AHandleDoesWhatItWasOpenedFor) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldFile reader = me().open("/file", O_RDONLY).value();
  EXPECT_EQ(reader.read().value(), "content");
  EXPECT_EQ(outcome_of(reader.write(0, "x")), "EBADF");
  const HeldFile writer = me().open("/file", O_WRONLY).value();
  EXPECT_EQ(outcome_of(writer.write(0, "C")), kOk);
  EXPECT_EQ(outcome_of(writer.read()), "EBADF");
  EXPECT_EQ(reader.read().value(), "Content") << "seen at once by every other handle";
}

TEST_F(FilesTest, OpenOfWhatIsNoFile) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("file", "/link")), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/fifo", S_IFIFO | 0644)), kOk);
  EXPECT_EQ(outcome_of(me().open("/dir", O_RDONLY)), "EISDIR");
  EXPECT_EQ(outcome_of(me().open("/dir", O_RDWR)), "EISDIR");
  EXPECT_EQ(outcome_of(me().open("/link", O_RDONLY)), "ELOOP");
  EXPECT_EQ(outcome_of(me().open("/fifo", O_RDONLY)), "EINVAL");
  EXPECT_EQ(outcome_of(me().open("/missing", O_RDONLY)), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().open(Who(Caller::self()), InodeId{999}, O_RDONLY)), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().open(Who(Caller::self()), kRootInode, O_RDONLY)), "EISDIR");
}

TEST_F(FilesTest, TruncationAtOpen) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldFile other_handle = me().open("/file", O_RDONLY).value();
  me().open("/file", O_WRONLY | O_TRUNC).value();
  EXPECT_EQ(other_handle.read().value(), "");
  EXPECT_EQ(me().status("/file")->st_size, 0);
}

TEST_F(FilesTest, TruncationAtOpenOfAnEmptyFileIsAModification) {
  ASSERT_EQ(outcome_of(me().put("/stamp", "")), kOk);
  AttributeChange old;
  old.modification_time = timespec{.tv_sec = 1000, .tv_nsec = 0};
  ASSERT_EQ(outcome_of(me().change("/stamp", old)), kOk);
  me().open("/stamp", O_WRONLY | O_TRUNC).value();
  EXPECT_GT(me().status("/stamp")->st_mtim.tv_sec, 1000);
}

TEST_F(FilesTest, TruncationAtOpenTakesPrivilegesFromAFile) {
  store_.grant(kRootScope, {});
  ASSERT_EQ(outcome_of(me().put("/tool", "content")), kOk);
  const auto mode_after_open = [&](mode_t mode, const PathUser& opener) {
    AttributeChange change;
    change.mode = mode;
    must_be(me().change("/tool", change), "a mode");
    must_be(opener.open("/tool", O_WRONLY | O_TRUNC), "opening");
    return me().status("/tool")->st_mode & 07777;
  };
  EXPECT_EQ(mode_after_open(06755, other()), 0755U);
  EXPECT_EQ(mode_after_open(07745, other()), 03745U) << "without x for the group it is no setgid";
  EXPECT_EQ(mode_after_open(06755, PathUser(store_.vfs(), user(0))), 06755U);
}

TEST_F(FilesTest, SizesAreSeenWhileAFileIsOpenAndAfterIt) {
  HeldFile file = me().create("/file").value();
  const std::string part(5000, 'p');
  ASSERT_EQ(file.write(0, part).value(), 5000U);
  EXPECT_EQ(me().status("/file")->st_size, 5000);
  ASSERT_EQ(file.write(20000, part).value(), 5000U);
  EXPECT_EQ(me().status("/file")->st_size, 25000);
  file.close();
  EXPECT_EQ(me().status("/file")->st_size, 25000);
  store_.reopen();
  EXPECT_EQ(me().status("/file")->st_size, 25000);
  EXPECT_EQ(me().get("/file").value(), part + std::string(15000, '\0') + part);
}

TEST_F(FilesTest, ReadsEndAtTheEnd) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldFile file = me().open("/file", O_RDONLY).value();
  EXPECT_EQ(file.read(4, 100).value(), "ent");
  EXPECT_EQ(file.read(7, 100).value(), "");
  EXPECT_EQ(file.read(1U << 30U, 100).value(), "");
}

TEST_F(FilesTest, TooLargeIsRefused) {
  const HeldFile file = me().create("/file").value();
  EXPECT_EQ(outcome_of(file.write((std::uint64_t{1} << 50U) - 1, "xx")), "EFBIG");
  AttributeChange change;
  change.size = (std::uint64_t{1} << 50U) + 1;
  EXPECT_EQ(outcome_of(vfs().change_attributes(Who(Caller::self()), file.inode(), change, nullptr)),
            "EFBIG");
}

TEST_F(FilesTest, FlushedIsReadByWhoeverOpensTheStoreNext) {
  {
    const HeldFile file = me().create("/file").value();
    ASSERT_EQ(outcome_of(file.write(0, "flushed")), kOk);
    ASSERT_EQ(outcome_of(file.flush()), kOk);
    ASSERT_EQ(outcome_of(vfs().sync(file.handle(), false)), kOk);
    ASSERT_EQ(outcome_of(vfs().sync(file.handle(), true)), kOk);
    // A second look at the backing while the first still has the file open, as a crash leaves it.
    ASSERT_EQ(::system(("cp -a " + store_.backing() + " " + store_.beside("copy")).c_str()), 0);
  }
  store_.close();
  ASSERT_EQ(::rename(store_.backing().c_str(), store_.beside("first").c_str()), 0);
  ASSERT_EQ(::rename(store_.beside("copy").c_str(), store_.backing().c_str()), 0);
  store_.open();
  EXPECT_EQ(me().get("/file").value(), "flushed");
}

TEST_F(FilesTest, FinishCommitsFilesThatAreStillOpen) {
  {
    const HeldFile file = me().create("/file").value();
    ASSERT_EQ(outcome_of(file.write(0, "unfinished")), kOk);
    ASSERT_EQ(outcome_of(vfs().finish()), kOk);
    ASSERT_EQ(::system(("cp -a " + store_.backing() + " " + store_.beside("copy")).c_str()), 0);
  }
  store_.close();
  ASSERT_EQ(::rename(store_.backing().c_str(), store_.beside("first").c_str()), 0);
  ASSERT_EQ(::rename(store_.beside("copy").c_str(), store_.backing().c_str()), 0);
  store_.open();
  EXPECT_EQ(me().get("/file").value(), "unfinished");
}

TEST_F(FilesTest, HandlesAndReferencesAreCounted) {
  HeldFile one = me().create("/file").value();
  HeldFile two = me().open("/file", O_RDONLY).value();
  EXPECT_EQ(vfs().counts().open_files, 1U);
  EXPECT_EQ(vfs().counts().inodes, 2U);
  one.close();
  EXPECT_EQ(vfs().counts().open_files, 1U);
  two.close();
  EXPECT_EQ(vfs().counts().open_files, 0U);
}

TEST_F(FilesTest, AFailedOpenTakesNothing) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  const HeldInode inode = me().find("/file").value();
  EXPECT_EQ(outcome_of(vfs().open(Who(user(1234)), inode.id(), O_RDONLY)), "EACCES");
  EXPECT_EQ(vfs().counts().open_files, 0U);
  const HeldFile file = me().open("/file").value();
  EXPECT_EQ(outcome_of(vfs().open(Who(user(1234)), inode.id(), O_RDONLY)), "EACCES");
  EXPECT_EQ(vfs().counts().open_files, 1U);
}

TEST_F(FilesTest, AForgottenInodeDoesNotMakeASecondFileOfAnOpenOne) {
  Vfs::Created created =
      vfs().create_file(Who(Caller::self()), kRootInode, "file", 0644, O_RDWR).value();
  vfs().forget(created.entry.inode, 1);  // the handle is what still holds it
  ASSERT_EQ(vfs().write(*created.handle, 0, as_bytes("first")).value(), 5U);
  const HeldFile again = me().open("/file").value();
  EXPECT_EQ(again.read().value(), "first");
  ASSERT_EQ(again.write(0, "F").value(), 1U);
  vfs().release(std::move(created.handle));
  EXPECT_EQ(again.read().value(), "First");
}

TEST_F(FilesTest, AReadOnlyStoreTakesNoChange) {
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("file", "/link")), kOk);
  store_.reopen({.read_only = true});
  EXPECT_TRUE(vfs().read_only());
  EXPECT_EQ(me().get("/file").value(), "content");
  EXPECT_EQ(me().read_symlink("/link").value(), "file");
  EXPECT_EQ(me().list("/").value().size(), 3U);
  EXPECT_EQ(outcome_of(me().open("/file", O_RDWR)), "EROFS");
  EXPECT_EQ(outcome_of(me().open("/file", O_WRONLY)), "EROFS");
  EXPECT_EQ(outcome_of(me().open("/file", O_RDONLY | O_TRUNC)), "EROFS");
  EXPECT_EQ(outcome_of(me().create("/new")), "EROFS");
  EXPECT_EQ(outcome_of(me().make_node("/new", S_IFIFO | 0644)), "EROFS");
  EXPECT_EQ(outcome_of(me().make_directory("/new")), "EROFS");
  EXPECT_EQ(outcome_of(me().make_symlink("file", "/new")), "EROFS");
  EXPECT_EQ(outcome_of(me().link("/file", "/new")), "EROFS");
  EXPECT_EQ(outcome_of(me().rename("/file", "/new")), "EROFS");
  EXPECT_EQ(outcome_of(me().unlink("/file")), "EROFS");
  EXPECT_EQ(outcome_of(me().remove_directory("/dir")), "EROFS");
  AttributeChange change;
  change.mode = 0600;
  EXPECT_EQ(outcome_of(me().change("/file", change)), "EROFS");
}

}  // namespace
}  // namespace coffer
