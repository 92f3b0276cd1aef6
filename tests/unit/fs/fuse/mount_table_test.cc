// Lines as the kernel writes them into /proc/self/mountinfo.

#include "fs/fuse/mount_table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace coffer {
namespace {

constexpr const char* kTable =
    "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "40 22 0:57 / /srv/models rw shared:7 master:2 - fuse.coffer store rw,user_id=0\n"
    "41 22 0:58 / /srv/with\\040space\\134 rw - fuse.coffer store rw\n"
    "42 22 0:59 / /srv/a\rb rw - fuse.coffer store rw\n"
    "43 22 0:60 / /srv/models rw - tmpfs none rw\n"
    "not a line of the kernel's\n";

std::string find(const std::string& mountpoint) {
  std::istringstream table(kTable);
  const auto found = find_mount(table, mountpoint);
  return found ? found->device + " " + found->type : "none";
}

TEST(MountTable, TheTopmostMountIsFound) {
  EXPECT_EQ(find("/"), "0:20 ext4");
  EXPECT_EQ(find("/srv/models"), "0:60 tmpfs");
  EXPECT_EQ(find("/srv"), "none");
}

TEST(MountTable, EscapedCharactersAreThePaths) {
  EXPECT_EQ(find("/srv/with space\\"), "0:58 fuse.coffer");
  EXPECT_EQ(find("/srv/with\\040space\\134"), "none");
}

TEST(MountTable, WhiteSpaceThatTheKernelDoesNotEscapeEndsNoField) {
  EXPECT_EQ(find("/srv/a\rb"), "0:59 fuse.coffer");
  EXPECT_EQ(find("/srv/a"), "none");
}

}  // namespace
}  // namespace coffer
