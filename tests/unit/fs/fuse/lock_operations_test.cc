#include "fs/fuse/lock_operations.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>

#include <cstring>

namespace coffer {
namespace {

struct Release {
  fuse_in_header header;
  fuse_release_in release;
};

Release release_of(std::uint64_t handle) {
  Release request{};
  request.header.len = sizeof(request);
  request.header.opcode = FUSE_RELEASE;
  request.release.fh = handle;
  return request;
}

void receive(Release request, FileLocks& locks, std::size_t length = sizeof(Release)) {
  fuse_buf buffer{};
  buffer.mem = &request;
  buffer.size = length;
  end_locks(buffer, locks);
}

TEST(EndLocks, ThoseOfTheHandleThatIsReleased) {
  constexpr std::uint64_t kHandle = 0x7f0012345678;
  FileLocks locks;
  const FileLocks::Claim held{.file = {},
                              .lock = {.owner = LockOwner{1}, .by = LockHandle{kHandle}}};
  const FileLocks::Claim other{.file = {},
                               .lock = {.owner = LockOwner{2}, .type = LockType::kExclusive}};
  ASSERT_TRUE(locks.take(held).ok());
  receive(release_of(kHandle + 1), locks);
  receive(release_of(kHandle), locks, sizeof(Release) - 1);
  Release of_another_kind = release_of(kHandle);
  of_another_kind.header.opcode = FUSE_RELEASEDIR;
  receive(of_another_kind, locks);
  EXPECT_TRUE(locks.conflict(other).has_value());
  receive(release_of(kHandle), locks);
  EXPECT_FALSE(locks.conflict(other).has_value());
}

}  // namespace
}  // namespace coffer
