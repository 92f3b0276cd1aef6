// getattr and setattr.

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr timespec kThen = {.tv_sec = 1234567890, .tv_nsec = 987654321};
constexpr timespec kEarlier = {.tv_sec = 1000000000, .tv_nsec = 1};

bool same(const timespec& one, const timespec& other) {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

AttributeChange mode_change(mode_t mode) {
  AttributeChange change;
  change.mode = mode;
  return change;
}

AttributeChange size_change(std::uint64_t size) {
  AttributeChange change;
  change.size = size;
  return change;
}

AttributeChange times_change() {
  AttributeChange change;
  change.access_time = kEarlier;
  change.modification_time = kThen;
  return change;
}

class AttributesTest : public StoreTest {
 protected:
  /// One of each kind, with a file that is open and a directory that was used.
  void make_each_kind() {
    ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
    ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
    ASSERT_EQ(outcome_of(me().put("/dir/inner", "inner")), kOk);
    ASSERT_EQ(outcome_of(me().make_symlink("somewhere/else", "/link")), kOk);
    ASSERT_EQ(outcome_of(me().make_node("/fifo", S_IFIFO | 0640)), kOk);
  }
};

TEST_F(AttributesTest, EachKindShowsItsTypeAndSize) {
  make_each_kind();
  for (int opening = 0; opening < 2; ++opening) {
    EXPECT_EQ(me().status("/file")->st_mode, static_cast<mode_t>(S_IFREG | 0644));
    EXPECT_EQ(me().status("/file")->st_size, 7);
    EXPECT_EQ(me().status("/dir")->st_mode, static_cast<mode_t>(S_IFDIR | 0755));
    EXPECT_EQ(me().status("/link")->st_mode, static_cast<mode_t>(S_IFLNK | 0777));
    EXPECT_EQ(me().status("/link")->st_size, 14);
    EXPECT_EQ(me().status("/fifo")->st_mode, static_cast<mode_t>(S_IFIFO | 0640));
    EXPECT_TRUE(S_ISDIR(me().status("/")->st_mode));
    store_.reopen();
  }
}

TEST_F(AttributesTest, InodeNumbersStayAndAreSharedByHardLinks) {
  make_each_kind();
  ASSERT_EQ(outcome_of(me().link("/file", "/dir/other")), kOk);
  std::map<std::string, ino_t> numbers;
  for (const char* const path : {"/", "/file", "/dir", "/dir/inner", "/link", "/fifo"}) {
    numbers[path] = me().status(path)->st_ino;
  }
  EXPECT_EQ(me().status("/dir/other")->st_ino, numbers["/file"]);
  store_.reopen();
  for (const auto& [path, number] : numbers) EXPECT_EQ(me().status(path)->st_ino, number) << path;
  EXPECT_EQ(me().status("/dir/other")->st_ino, numbers["/file"]);
  ASSERT_EQ(outcome_of(me().rename("/file", "/dir/moved")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/dir", "/dir2")), kOk);
  EXPECT_EQ(me().status("/dir2/moved")->st_ino, numbers["/file"]);
  EXPECT_EQ(me().status("/dir2")->st_ino, numbers["/dir"]);
}

TEST_F(AttributesTest, ListedNumbersAreThoseOfStat) {
  make_each_kind();
  const auto handle = me().open_directory("/").value();
  std::size_t seen = 0;
  ASSERT_EQ(outcome_of(vfs().list(*handle, 0,
                                  [&](const ListedEntry& entry) {
                                    if (entry.name == "." || entry.name == "..") return true;
                                    const auto status = me().status("/" + std::string(entry.name));
                                    EXPECT_EQ(entry.inode_number, status->st_ino) << entry.name;
                                    EXPECT_EQ(entry.type, status->st_mode & S_IFMT) << entry.name;
                                    ++seen;
                                    return true;
                                  })),
            kOk);
  EXPECT_EQ(seen, 4U);
}

TEST_F(AttributesTest, ModesOfEachKind) {
  make_each_kind();
  HeldFile open = me().create("/open").value();
  for (const char* const path : {"/file", "/dir", "/fifo", "/open"}) {
    for (const mode_t mode : {0U, 0400U, 0755U, 04711U, 02750U}) {
      ASSERT_EQ(outcome_of(me().change(path, mode_change(mode))), kOk) << path;
      EXPECT_EQ(me().status(path)->st_mode & 07777, mode) << path;
    }
    ASSERT_EQ(outcome_of(me().change(path, mode_change(0700))), kOk) << path;
  }
  ASSERT_EQ(outcome_of(me().change("/", mode_change(0711))), kOk);
  EXPECT_EQ(me().status("/")->st_mode, static_cast<mode_t>(S_IFDIR | 0711));
  open.close();
  store_.reopen();
  EXPECT_EQ(me().status("/file")->st_mode & 07777, 0700U);
}

TEST_F(AttributesTest, TypeBitsInAModeChangeNothing) {
  make_each_kind();
  ASSERT_EQ(outcome_of(me().change("/file", mode_change(S_IFDIR | 0600))), kOk);
  EXPECT_EQ(me().status("/file")->st_mode, static_cast<mode_t>(S_IFREG | 0600));
}

TEST_F(AttributesTest, TimesOfEachKind) {
  make_each_kind();
  HeldFile open = me().create("/open").value();
  ASSERT_EQ(open.write(0, "not committed yet").value(), 17U);
  for (const char* const path : {"/file", "/dir", "/link", "/fifo", "/open", "/"}) {
    ASSERT_EQ(outcome_of(me().change(path, times_change())), kOk) << path;
  }
  open.close();
  for (int opening = 0; opening < 2; ++opening) {
    for (const char* const path : {"/file", "/dir", "/link", "/fifo", "/open", "/"}) {
      EXPECT_TRUE(same(me().status(path)->st_mtim, kThen)) << path;
    }
    EXPECT_TRUE(same(me().status("/file")->st_atim, kEarlier));
    store_.reopen();
  }
}

TEST_F(AttributesTest, OneTimeLeavesTheOther) {
  make_each_kind();
  ASSERT_EQ(outcome_of(me().change("/file", times_change())), kOk);
  AttributeChange change;
  change.access_time = timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
  const struct stat status = me().change("/file", change).value();
  EXPECT_TRUE(same(status.st_mtim, kThen));
  EXPECT_GT(status.st_atim.tv_sec, kThen.tv_sec);
}

TEST_F(AttributesTest, WritingIsAModification) {
  make_each_kind();
  ASSERT_EQ(outcome_of(me().change("/file", times_change())), kOk);
  const HeldFile file = me().open("/file").value();
  EXPECT_TRUE(same(me().status("/file")->st_mtim, kThen)) << "opening is none";
  ASSERT_TRUE(file.write(0, "C").ok());
  EXPECT_GT(me().status("/file")->st_mtim.tv_sec, kThen.tv_sec);
}

TEST_F(AttributesTest, ARenameOrLinkIsNoModification) {
  make_each_kind();
  for (const char* const path : {"/file", "/dir", "/link"}) {
    ASSERT_EQ(outcome_of(me().change(path, times_change())), kOk) << path;
  }
  ASSERT_EQ(outcome_of(me().rename("/file", "/file2")), kOk);
  ASSERT_EQ(outcome_of(me().link("/file2", "/file3")), kOk);
  ASSERT_EQ(outcome_of(me().unlink("/file2")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/dir", "/dir2")), kOk);
  ASSERT_EQ(outcome_of(me().rename("/link", "/link2")), kOk);
  for (const char* const path : {"/file3", "/dir2", "/link2"}) {
    EXPECT_TRUE(same(me().status(path)->st_mtim, kThen)) << path;
  }
}

TEST_F(AttributesTest, SizesUpAndDown) {
  make_each_kind();
  EXPECT_EQ(me().change("/file", size_change(3))->st_size, 3);
  EXPECT_EQ(me().get("/file").value(), "con");
  EXPECT_EQ(me().change("/file", size_change(10000))->st_size, 10000);
  EXPECT_EQ(me().get("/file").value(), "con" + std::string(9997, '\0'));
  EXPECT_EQ(me().change("/file", size_change(0))->st_size, 0);
  store_.reopen();
  EXPECT_EQ(me().get("/file").value(), "");
}

TEST_F(AttributesTest, SizeThroughAHandleAndBesideIt) {
  const HeldFile file = me().create("/file").value();
  ASSERT_TRUE(file.write(0, "content").ok());
  const Who who(Caller::self());
  EXPECT_EQ(vfs().change_attributes(who, file.inode(), size_change(4), &file.handle())->st_size, 4);
  EXPECT_EQ(me().change("/file", size_change(2))->st_size, 2);
  EXPECT_EQ(file.read().value(), "co");
  const HeldFile reader = me().open("/file", O_RDONLY).value();
  EXPECT_EQ(vfs().change_attributes(who, file.inode(), size_change(1), &reader.handle())->st_size,
            1);
}

TEST_F(AttributesTest, TheSameSizeIsAModificationThroughAHandleAlone) {
  make_each_kind();
  const HeldFile file = *me().open("/file");
  ASSERT_EQ(outcome_of(me().change("/file", times_change())), kOk);
  ASSERT_EQ(outcome_of(me().change("/file", size_change(7))), kOk);
  EXPECT_EQ(me().status("/file")->st_mtim.tv_sec, kThen.tv_sec);
  ASSERT_EQ(
      outcome_of(vfs().change_attributes(me().who(), file.inode(), size_change(7), &file.handle())),
      kOk);
  EXPECT_NE(me().status("/file")->st_mtim.tv_sec, kThen.tv_sec);
  EXPECT_EQ(me().status("/file")->st_atim.tv_sec, kEarlier.tv_sec);
}

TEST_F(AttributesTest, ASizeIsForFiles) {
  make_each_kind();
  EXPECT_EQ(outcome_of(me().change("/dir", size_change(0))), "EISDIR");
  EXPECT_EQ(outcome_of(me().change("/link", size_change(0))), "ELOOP");
  EXPECT_EQ(outcome_of(me().change("/fifo", size_change(0))), "EINVAL");
}

TEST_F(AttributesTest, OwnersOfEachKind) {
  if (!is_root()) COFFER_SKIP("only root gives files away");
  make_each_kind();
  const HeldFile open = me().create("/open").value();
  AttributeChange change;
  change.uid = 11;
  change.gid = 22;
  change.mode = 04755;
  for (const char* const path : {"/file", "/dir", "/fifo", "/open", "/"}) {
    const struct stat status = me().change(path, change).value();
    EXPECT_EQ(status.st_uid, 11U) << path;
    EXPECT_EQ(status.st_gid, 22U) << path;
    EXPECT_EQ(status.st_mode & 07777, 04755U) << path << ": the mode holds beside the owner";
  }
  change.mode.reset();
  EXPECT_EQ(me().change("/link", change)->st_uid, 11U);
  AttributeChange group;
  group.gid = 33;
  EXPECT_EQ(me().change("/file", group)->st_uid, 11U);
  EXPECT_EQ(me().change("/file", group)->st_gid, 33U);
}

TEST_F(AttributesTest, ADeletedFileThatIsOpenStillHasAttributes) {
  const HeldFile file = me().create("/file").value();
  ASSERT_TRUE(file.write(0, "content").ok());
  ASSERT_EQ(outcome_of(me().unlink("/file")), kOk);
  const Who who(Caller::self());
  const struct stat status = vfs().attributes(who, file.inode()).value();
  EXPECT_EQ(status.st_size, 7);
  EXPECT_EQ(status.st_nlink, 0U);
  EXPECT_EQ(vfs().change_attributes(who, file.inode(), mode_change(0600), nullptr)->st_mode,
            static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(vfs().change_attributes(who, file.inode(), size_change(2), &file.handle())->st_size, 2);
  // Without a handle as well: truncate(2) of /proc/self/fd/N.
  EXPECT_EQ(vfs().change_attributes(who, file.inode(), size_change(1), nullptr)->st_size, 1);
}

TEST_F(AttributesTest, AnInodeWithoutAnObjectIsStale) {
  make_each_kind();
  const Who who(Caller::self());
  for (const char* const path : {"/file", "/link", "/fifo"}) {
    const HeldInode inode = me().find(path).value();
    ASSERT_EQ(outcome_of(me().unlink(path)), kOk);
    // One that a program may have open, of which nobody is told, keeps them (unlink_test.cc).
    const char* const left = path == std::string_view("/fifo") ? kOk : "ESTALE";
    EXPECT_EQ(outcome_of(vfs().attributes(who, inode.id())), left) << path;
    EXPECT_EQ(outcome_of(vfs().change_attributes(who, inode.id(), mode_change(0600), nullptr)),
              "ESTALE")
        << path;
    EXPECT_EQ(outcome_of(vfs().open(who, inode.id(), O_RDONLY)), "ESTALE") << path;
  }
  const HeldInode dir = me().find("/dir").value();
  ASSERT_EQ(outcome_of(me().unlink("/dir/inner")), kOk);
  ASSERT_EQ(outcome_of(me().remove_directory("/dir")), kOk);
  EXPECT_TRUE(vfs().attributes(who, dir.id()).ok()) << "whoever works in it still has it";
  EXPECT_EQ(outcome_of(vfs().lookup(who, dir.id(), "x")), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().create_file(who, dir.id(), "x", 0644, O_RDWR)), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().make_directory(who, dir.id(), "x", 0755)), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().attributes(who, InodeId{4711})), "ESTALE");
}

TEST_F(AttributesTest, FilesystemFigures) {
  const struct statvfs status = vfs().filesystem().value();
  EXPECT_EQ(status.f_namemax, 255U);
  EXPECT_GT(status.f_blocks, 0U);
}

TEST_F(AttributesTest, NewEntriesOfASetgidDirectoryGetItsGroup) {
  if (!is_root()) COFFER_SKIP("only root gives files away");
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  AttributeChange change;
  change.gid = 4242;
  change.mode = 02755;
  ASSERT_EQ(outcome_of(me().change("/dir", change)), kOk);
  ASSERT_EQ(outcome_of(me().put("/dir/file", "")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/dir/sub", 0755)), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("x", "/dir/link")), kOk);
  ASSERT_EQ(outcome_of(me().make_node("/dir/fifo", S_IFIFO | 0644)), kOk);
  for (const char* const path : {"/dir/file", "/dir/sub", "/dir/link", "/dir/fifo"}) {
    EXPECT_EQ(me().status(path)->st_gid, 4242U) << path;
  }
  EXPECT_EQ(me().status("/dir/sub")->st_mode & 07777, 02755U);
  EXPECT_EQ(me().status("/dir/file")->st_mode & 07777, 0644U);
}

TEST_F(AttributesTest, NewEntriesBelongToTheCaller) {
  if (!is_root()) COFFER_SKIP("only root gives files away");
  store_.grant(kRootScope, {});
  ASSERT_EQ(outcome_of(other(77).put("/file", "")), kOk);
  ASSERT_EQ(outcome_of(other(77).make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(other(77).make_symlink("x", "/link")), kOk);
  ASSERT_EQ(outcome_of(other(77).make_node("/fifo", S_IFIFO | 0644)), kOk);
  for (const char* const path : {"/file", "/dir", "/link", "/fifo"}) {
    EXPECT_EQ(me().status(path)->st_uid, 77U) << path;
    EXPECT_EQ(me().status(path)->st_gid, 77U) << path;
  }
  ASSERT_EQ(outcome_of(me().rename("/link", "/moved")), kOk);
  EXPECT_EQ(me().status("/moved")->st_uid, 77U) << "whoever renames it";
}

/// The thread is one without CAP_FSETID while this lives, as an ordinary user's daemon is.
class WithoutFsetid {
 public:
  WithoutFsetid() {
    must_do(SYS_capget, had_);
    auto left = had_;
    left[0].effective &= ~(1U << CAP_FSETID);
    must_do(SYS_capset, left);
  }
  ~WithoutFsetid() { must_do(SYS_capset, had_); }
  WithoutFsetid(const WithoutFsetid&) = delete;
  WithoutFsetid& operator=(const WithoutFsetid&) = delete;

 private:
  using Capabilities = std::array<__user_cap_data_struct, 2>;
  static void must_do(long call, Capabilities& capabilities) {
    __user_cap_header_struct head{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    if (::syscall(call, &head, capabilities.data()) != 0) std::abort();
  }
  Capabilities had_{};
};

/// The backing's kernel takes them with each write by such a process: of a header, too.
TEST_F(AttributesTest, HeadersAreWrittenWithoutTakingPrivileges) {
  const WithoutFsetid ordinary;
  const auto mode = [&](const std::string& path) { return me().status(path)->st_mode & 07777; };
  ASSERT_EQ(outcome_of(me().put("/file", std::string(9000, 'x'))), kOk);
  ASSERT_EQ(outcome_of(me().change("/file", mode_change(06755))), kOk);
  EXPECT_EQ(mode("/file"), 06755U);
  ASSERT_EQ(outcome_of(me().link("/file", "/link")), kOk);
  EXPECT_EQ(mode("/file"), 06755U) << "after a link";
  ASSERT_EQ(outcome_of(me().rename("/file", "/moved")), kOk);
  EXPECT_EQ(mode("/moved"), 06755U) << "after a rename";
  ASSERT_EQ(outcome_of(me().set_xattr("/moved", "user.a", "x")), kOk);
  EXPECT_EQ(mode("/moved"), 06755U) << "after a change of attributes";
  {
    // Given between the write, which the kernel has had them taken with, and the close.
    const HeldFile open = must_be(me().open("/moved"));
    ASSERT_EQ(outcome_of(open.write(100, "over what was committed")), kOk);
    ASSERT_EQ(outcome_of(me().change("/moved", mode_change(04711))), kOk);
  }
  EXPECT_EQ(mode("/moved"), 04711U) << "after a close";
  store_.reopen();
  EXPECT_EQ(mode("/moved"), 04711U) << "with its journal applied";
  ASSERT_EQ(outcome_of(me().change("/moved", mode_change(0700))), kOk);
  ASSERT_EQ(outcome_of(me().unlink("/link")), kOk);
  EXPECT_EQ(mode("/moved"), 0700U) << "none that were not there";
}

}  // namespace
}  // namespace coffer
