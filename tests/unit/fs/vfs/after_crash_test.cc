// What a crash leaves that only the filesystem as a whole can settle: names without a file, and
// sizes. The files' own recovery is in content/crash_test.cc, all of it together in tests/power.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;

class AfterCrash : public StoreTest {
 protected:
  AfterCrash() {
    allow_flaws();
    must_be(me().put("/old", "old content"));
    must_be(me().put("/new", "new content"));
  }
  /// Closes the store, makes the backing file of `path` so long, and opens it again.
  void left_with(const std::string& path, off_t size, const StoreOpening& opening) {
    const std::string backing = stored(path);
    store_.close();
    ASSERT_EQ(::truncate(backing.c_str(), size), 0);
    store_.open(opening);
  }
  [[nodiscard]] off_t backing_size(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(stored(path).c_str(), &status), 0);
    return status.st_size;
  }
};

TEST_F(AfterCrash, ANameWhoseFileHadNotReachedTheDiskIsNotThere) {
  for (const off_t size : {0, 4096, 8191}) {
    must_be(me().put("/new", "new content"));
    const std::string backing = stored("/new");
    left_with("/new", size, {.after_crash = true});
    EXPECT_EQ(outcome_of(me().status("/new")), "ENOENT");
    EXPECT_THAT(must_be(me().list("/"), "list"), ElementsAre("old"));
    EXPECT_NE(::access(backing.c_str(), F_OK), 0) << "it is gone for good";
    EXPECT_EQ(*me().get("/old"), "old content");
  }
}

TEST_F(AfterCrash, AListingLeavesItOutAsWell) {
  left_with("/new", 0, {.after_crash = true});
  EXPECT_THAT(must_be(me().list("/"), "list"), ElementsAre("old"));
  must_be(me().put("/new", "another"));
  EXPECT_EQ(*me().get("/new"), "another");
}

TEST_F(AfterCrash, WhoMayNotWriteLeavesItWhereItIs) {
  const std::string backing = stored("/new");
  left_with("/new", 0, {.read_only = true, .after_crash = true});
  EXPECT_EQ(outcome_of(me().status("/new")), "ENOENT");
  EXPECT_EQ(::access(backing.c_str(), F_OK), 0);
}

TEST_F(AfterCrash, AfterACleanEndItIsDamage) {
  left_with("/new", 0, {});
  EXPECT_EQ(code_of(me().open("/new", O_RDONLY)), "corrupt");
  EXPECT_EQ(outcome_of(me().unlink("/new")), kOk) << "and can be removed";
}

TEST_F(AfterCrash, ASizeThatWasNotWhatItSeemedIsAskedForAgain) {
  const off_t whole = backing_size("/new");
  left_with("/new", whole + 100, {.after_crash = true});
  EXPECT_EQ(must_be(me().status("/new"), "stat").st_size, 111);
  {
    const HeldInode inode = must_be(me().find("/new"), "lookup");
    EXPECT_EQ(outcome_of(vfs().open(me().who(), inode.id(), O_RDONLY)), "ESTALE")
        << "so that the kernel asks again";
  }
  EXPECT_EQ(must_be(me().status("/new"), "stat").st_size, 11);
  EXPECT_EQ(*me().get("/new"), "new content");
  EXPECT_EQ(backing_size("/new"), whole);
}

TEST_F(AfterCrash, WhoeverCreatesWhatIsThereIsToldItsSizeAtOnce) {
  left_with("/new", backing_size("/new") + 100, {.after_crash = true});
  {
    const HeldFile file = must_be(me().create("/new", 0600, O_RDWR | O_CREAT), "create");
    EXPECT_EQ(*file.read(), "new content");
  }
  const HeldInode inode = must_be(me().find("/new"), "lookup");
  auto handle = vfs().open(me().who(), inode.id(), O_RDONLY);
  EXPECT_EQ(outcome_of(handle), kOk) << "the kernel knows by now";
  if (handle) vfs().release(std::move(*handle));
}

TEST_F(AfterCrash, WhoKeepsNoSizesIsNotAskedAgain) {
  left_with("/new", backing_size("/new") + 100, {.for_kernel = false, .after_crash = true});
  const HeldInode inode = must_be(me().find("/new"), "lookup");
  auto handle = vfs().open(me().who(), inode.id(), O_RDONLY);
  EXPECT_EQ(outcome_of(handle), kOk);
  if (handle) vfs().release(std::move(*handle));
}

}  // namespace
}  // namespace coffer
