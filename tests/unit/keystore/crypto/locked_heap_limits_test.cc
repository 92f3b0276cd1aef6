// What the locked heap does when the system gives it no more, and how it gives memory back. The
// sanitizers stand before mlock and munmap themselves.

#include "tests/support/sanitizers.h"

#if !COFFER_SANITIZED

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include "keystore/crypto/secret_bytes.h"
#include "tests/support/privileges.h"

namespace {

/// Memory to look at just before it is unmapped, and what was seen.
const void* watched = nullptr;
bool seen_unmapped = false;
bool was_zero = false;

}  // namespace

// Stands before the C library's for this program.
extern "C" int munmap(void* address, std::size_t length) noexcept {
  if (address == watched && address != nullptr) {
    seen_unmapped = true;
    was_zero = coffer::all_zero({static_cast<const std::uint8_t*>(address), length});
  }
  return static_cast<int>(::syscall(SYS_munmap, address, length));
}

namespace coffer {
namespace {

TEST(LockedHeapUnmap, WipesLargeBlocksFirst) {
  for (const std::size_t size : {2049U, 4096U, 100'000U}) {
    void* const block = locked_allocate(size);
    std::memset(block, 0xa5, size);
    seen_unmapped = false;
    watched = block;
    locked_free(block, size);
    watched = nullptr;
    EXPECT_TRUE(seen_unmapped) << size;
    EXPECT_TRUE(was_zero) << size;
  }
}

TEST(LockedHeap, RefusesSizesThatCantBe) {
  EXPECT_THROW((void)locked_allocate(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW((void)locked_allocate(SIZE_MAX - 4096), std::bad_alloc);
  EXPECT_THROW((void)locked_allocate(std::size_t{1} << 60), std::bad_alloc);
}

/// In a child: leaves it no privilege and `soft` of `hard` bytes to lock.
void limit_locked_memory(std::size_t soft, std::size_t hard) {
  const rlimit limit{soft, hard};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(100);
  if (testing::is_root() && ::setuid(testing::kNobody) != 0) ::_exit(101);
}

/// In a child: takes blocks until there are no more; their number.
std::size_t exhaust(std::size_t size) {
  for (std::size_t count = 0;; ++count) {
    try {
      (void)locked_allocate(size);
    } catch (const std::bad_alloc&) {
      return count;
    }
    if (count > 100'000) ::_exit(102);
  }
}

TEST(LockedHeapDeathTest, FailsRatherThanHandOutUnlockedMemory) {
  EXPECT_EXIT(
      {
        limit_locked_memory(256 * 1024, 256 * 1024);
        const std::size_t locked_before = locked_memory_use().locked;
        const std::size_t used_before = locked_memory_use().used;
        const std::size_t large = exhaust(100'000);
        // What failed is not counted, and nothing of it stays mapped.
        if (locked_memory_use().locked != locked_before + large * 102'400) ::_exit(1);
        if (locked_memory_use().used != used_before + large * 102'400) ::_exit(2);
        if (locked_memory_use().locked > 256 * 1024) ::_exit(3);
        ::_exit(exhaust(64) <= 256 * 1024 / 64 ? 0 : 4);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(LockedHeapDeathTest, PrepareSaysHowToGetMemory) {
  EXPECT_EXIT(
      {
        limit_locked_memory(0, 0);
        exhaust(32);
        const auto prepared = prepare_locked_memory();
        if (prepared || prepared.error().code != Code::kExhausted) ::_exit(1);
        const std::string message = prepared.error().message();
        ::_exit(message.find("ulimit -l") != std::string::npos ? 0 : 2);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(LockedHeapDeathTest, PrepareRaisesTheSoftLimit) {
  EXPECT_EXIT(
      {
        limit_locked_memory(0, 512 * 1024);
        exhaust(32);
        if (!prepare_locked_memory()) ::_exit(1);
        rlimit limit{};
        if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(2);
        ::_exit(limit.rlim_cur == 512 * 1024 ? 0 : 3);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace coffer

#endif
