// The heap behind SecretBytes: classes and alignment, what is left in freed memory, and what the
// kernel says of its pages.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "keystore/base/unique_fd.h"
#include "keystore/crypto/secret_bytes.h"
#include "tests/support/sanitizers.h"

namespace coffer {
namespace {

/// Size of the block that `size` bytes take, and whether they have pages of their own.
struct Block {
  std::size_t size;
  std::size_t taken;
};

constexpr Block kBlocks[] = {
    {0, 64},        {1, 64},
    {63, 64},       {64, 64},
    {65, 128},      {127, 128},
    {128, 128},     {129, 256},
    {256, 256},     {257, 512},
    {512, 512},     {513, 1024},
    {1024, 1024},   {1025, 2048},
    {2047, 2048},   {2048, 2048},
    {2049, 4096},   {4096, 4096},
    {4097, 8192},   {8192, 8192},
    {65536, 65536}, {1'000'000, 1'003'520},
};

std::uint8_t* allocate(std::size_t size) {
  return static_cast<std::uint8_t*>(locked_allocate(size));
}

/// Bytes of this process at `address`, copied by the kernel: of memory that was freed nothing else
/// may be asked. Fewer than `size` where nothing is mapped.
ByteVector memory_at(const std::uint8_t* address, std::size_t size) {
  const UniqueFd copy(::memfd_create("copy", MFD_CLOEXEC));
  const ssize_t got = ::write(copy.get(), address, size);
  ByteVector bytes(got > 0 ? static_cast<std::size_t>(got) : 0);
  EXPECT_EQ(::pread(copy.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

TEST(LockedHeap, BlocksAreAlignedZeroedAndCounted) {
  for (const auto& [size, taken] : kBlocks) {
    SCOPED_TRACE(size);
    const LockedMemoryUse before = locked_memory_use();
    std::uint8_t* const block = allocate(size);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0U);
    EXPECT_TRUE(all_zero({block, size}));
    EXPECT_EQ(locked_memory_use().used, before.used + taken);
    EXPECT_GE(locked_memory_use().locked, locked_memory_use().used);
    std::fill_n(block, size, std::uint8_t{0xa5});
    locked_free(block, size);
    EXPECT_EQ(locked_memory_use().used, before.used);
  }
}

TEST(LockedHeap, BlocksDoNotOverlap) {
  struct Held {
    std::uint8_t* block;
    std::size_t size;
    std::uint8_t mark;
  };
  std::vector<Held> held;
  for (int round = 0; round < 40; ++round) {
    for (const auto& [size, taken] : kBlocks) {
      if (size > 5000) continue;
      const auto mark = static_cast<std::uint8_t>(held.size() % 255 + 1);
      held.push_back({allocate(size), size, mark});
      std::fill_n(held.back().block, size, mark);
    }
  }
  for (const Held& entry : held) {
    EXPECT_TRUE(std::all_of(entry.block, entry.block + entry.size,
                            [&](std::uint8_t byte) { return byte == entry.mark; }));
    locked_free(entry.block, entry.size);
  }
}

TEST(LockedHeap, FreedBlocksHoldNothing) {
  for (const auto& [size, taken] : kBlocks) {
    if (size < 16 || size > 2048) continue;
    SCOPED_TRACE(size);
    std::uint8_t* const block = allocate(size);
    std::fill_n(block, size, std::uint8_t{0xa5});
    ASSERT_EQ(memory_at(block, size), ByteVector(size, 0xa5));
    locked_free(block, size);
    // A free block begins with a pointer to the next one.
    const ByteVector left = memory_at(block, size);
    ASSERT_EQ(left.size(), size) << "the region was unmapped";
    EXPECT_TRUE(all_zero(Bytes(left).subspan(sizeof(void*)))) << to_hex(left);
    // And is handed out again next, without that pointer.
    std::uint8_t* const again = allocate(size);
    EXPECT_EQ(again, block);
    EXPECT_TRUE(all_zero({again, size}));
    locked_free(again, size);
  }
}

TEST(LockedHeap, LargeBlocksAreUnmapped) {
  const LockedMemoryUse before = locked_memory_use();
  std::uint8_t* const block = allocate(100'000);
  EXPECT_EQ(locked_memory_use().locked, before.locked + 102'400);
  EXPECT_EQ(memory_at(block, 100'000).size(), 100'000U);
  locked_free(block, 100'000);
  EXPECT_EQ(locked_memory_use().locked, before.locked);
  EXPECT_EQ(locked_memory_use().used, before.used);
}

TEST(LockedHeap, KeepsItsRegionsAndUsesThemAgain) {
  constexpr std::size_t kCount = 200;  // more than three regions of 1 KiB blocks
  const auto fill_and_empty = [] {
    std::vector<std::uint8_t*> blocks;
    for (std::size_t i = 0; i < kCount; ++i) blocks.push_back(allocate(1000));
    std::set<std::uint8_t*> distinct(blocks.begin(), blocks.end());
    for (std::uint8_t* const block : blocks) locked_free(block, 1000);
    return distinct;
  };
  const auto first = fill_and_empty();
  EXPECT_EQ(first.size(), kCount);
  const std::size_t locked = locked_memory_use().locked;
  EXPECT_GE(locked, kCount * 1024);
  EXPECT_EQ(fill_and_empty(), first);
  EXPECT_EQ(locked_memory_use().locked, locked);
}

TEST(LockedHeap, ServesManyThreads) {
  const std::size_t used_before = locked_memory_use().used;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::vector<SecretBytes> held;
      for (unsigned i = 0; i < 2000; ++i) {
        SecretBytes secret(1 + (i * 131 + thread) % (i % 50 == 0 ? 9000 : 2048));
        if (!all_zero(secret.expose())) ++failures;
        const auto mark = static_cast<std::uint8_t>(thread * 50 + 1);
        std::fill(secret.expose().begin(), secret.expose().end(), mark);
        held.push_back(std::move(secret));
        if (held.size() < 20) continue;
        const Bytes oldest = held.front().expose();
        if (!std::all_of(oldest.begin(), oldest.end(), [&](auto b) { return b == mark; })) {
          ++failures;
        }
        held.erase(held.begin());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(locked_memory_use().used, used_before);
}

/// What the kernel knows of the mapping that `address` lies in.
struct Mapping {
  std::size_t size_kb = 0;
  std::size_t locked_kb = 0;
  std::set<std::string> flags;
};

Mapping mapping_of(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream smaps("/proc/self/smaps");
  Mapping mapping;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word.back() != ':') {
      const std::size_t dash = word.find('-');
      inside = std::stoull(word.substr(0, dash), nullptr, 16) <= wanted &&
               wanted < std::stoull(word.substr(dash + 1), nullptr, 16);
    }
    if (!inside) continue;
    if (word == "Size:") words >> mapping.size_kb;
    if (word == "Locked:") words >> mapping.locked_kb;
    if (word == "VmFlags:") {
      while (words >> word) mapping.flags.insert(word);
    }
  }
  return mapping;
}

TEST(LockedHeap, IsLeftOutOfCoreDumps) {
  const int ordinary = 0;
  EXPECT_EQ(mapping_of(&ordinary).flags.count("dd"), 0U);
  for (const std::size_t size : {32U, 2048U, 50'000U}) {
    const SecretBytes secret(size);
    const Mapping mapping = mapping_of(secret.expose().data());
    ASSERT_FALSE(mapping.flags.empty());
    EXPECT_EQ(mapping.flags.count("dd"), 1U) << size;
  }
}

/// As root would read it, who may read all that the kernel has mapped.
TEST(LockedHeap, IsOutOfReachWhereTheKernelHasSuchMemory) {
  const SecretBytes secret(32);
  const UniqueFd memory(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  std::array<char, 32> seen{};
  const auto at = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(secret.expose().data()));
  EXPECT_EQ(::pread(memory.get(), seen.data(), seen.size(), at),
            locked_memory_use().secret ? -1 : static_cast<ssize_t>(seen.size()));
}

/// Does `work` in a child by fork; whether it ended by exiting with 0.
bool child_succeeds(const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(LockedHeap, AChildHasNoneOfItAndBeginsAnew) {
  for (const std::size_t size : {32U, 2048U, 50'000U}) {
    SecretBytes secret = SecretBytes::random(size);
    const ByteVector before(secret.expose().begin(), secret.expose().end());
    EXPECT_TRUE(child_succeeds([&] { return memory_at(secret.expose().data(), size).empty(); }));
    EXPECT_TRUE(child_succeeds([&] {
      if (locked_memory_use().used != 0 || locked_memory_use().locked != 0) return false;
      SecretBytes own(size);
      std::fill(own.expose().begin(), own.expose().end(), std::uint8_t{1});
      return mapping_of(own.expose().data()).flags.count("dc") == 1;
    }));
    EXPECT_TRUE(constant_time_equal(secret.expose(), before));
  }
}

// The sanitizers turn mlock into nothing.
#if !COFFER_SANITIZED

std::size_t locked_kb_of_process() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmLck:", 0) == 0) return std::stoul(line.substr(6));
  }
  ADD_FAILURE() << "no VmLck";
  return 0;
}

TEST(LockedHeap, IsLocked) {
  for (const std::size_t size : {32U, 2048U, 50'000U}) {
    const SecretBytes secret = SecretBytes::random(size);
    const Mapping mapping = mapping_of(secret.expose().data());
    EXPECT_EQ(mapping.flags.count("lo"), 1U) << size;
    EXPECT_GE(mapping.locked_kb * 1024, size);
    // Secret pages are there once they are touched.
    if (!locked_memory_use().secret) {
      EXPECT_EQ(mapping.locked_kb, mapping.size_kb) << size;
    }
  }
}

TEST(LockedHeap, CountsWhatTheKernelCounts) {
  const SecretBytes small(32);
  EXPECT_EQ(locked_kb_of_process() * 1024, locked_memory_use().locked);
  {
    const SecretBytes large(1'000'000);
    EXPECT_EQ(locked_kb_of_process() * 1024, locked_memory_use().locked);
    EXPECT_GE(locked_memory_use().locked, 1'000'000U);
  }
  EXPECT_EQ(locked_kb_of_process() * 1024, locked_memory_use().locked);
}

#endif

}  // namespace
}  // namespace coffer
