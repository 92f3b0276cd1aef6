#include "fs/vfs/group_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::TempDir;

class WatchedGroupTest : public ::testing::Test {
 protected:
  WatchedGroupTest() { std::filesystem::create_directory(path()); }
  [[nodiscard]] std::string path() const { return dir_.path() + "/group"; }
  [[nodiscard]] ControlGroup group() const {
    return {.place = dir_.path(), .directory = path(), .selectors = {}};
  }

  TempDir dir_;
};

TEST_F(WatchedGroupTest, IsThereUntilItIsRemoved) {
  WatchedGroup group(this->group());
  EXPECT_FALSE(group.look());
  EXPECT_FALSE(group.gone());
  std::filesystem::remove(path());
  EXPECT_FALSE(group.gone()) << "nobody has looked";
  EXPECT_TRUE(group.look());
  EXPECT_TRUE(group.gone());
}

TEST_F(WatchedGroupTest, AnotherOfItsNameIsAnother) {
  WatchedGroup group(this->group());
  // The first one's inode stays taken, as the kernel never gives a control group's again.
  std::filesystem::rename(path(), path() + ".old");
  std::filesystem::create_directory(path());
  EXPECT_TRUE(group.look());
  EXPECT_TRUE(group.look()) << "and it does not come back";
}

TEST_F(WatchedGroupTest, OneThatIsNotThereIsGoneFromTheFirst) {
  std::filesystem::remove(path());
  EXPECT_TRUE(WatchedGroup(this->group()).gone());
}

TEST_F(WatchedGroupTest, WhereTheHierarchyIsNotToBeSeenNothingIsKnown) {
  for (const char* place : {"/proc", "/nowhere"}) {
    ControlGroup elsewhere = group();
    elsewhere.place = place;
    WatchedGroup there(elsewhere);
    std::filesystem::remove(path());
    EXPECT_FALSE(there.look()) << place;
    std::filesystem::create_directory(path());
  }
}

}  // namespace
}  // namespace coffer
