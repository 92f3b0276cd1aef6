#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "fs/content/nonce_sequence.h"
#include "fs/content/scratch_pool.h"

namespace coffer {
namespace {

Nonce nonce_of(std::initializer_list<int> bytes) {
  Nonce nonce{};
  std::size_t at = 0;
  for (const int byte : bytes) nonce[at++] = static_cast<std::uint8_t>(byte);
  return nonce;
}

TEST(NonceSequence, CountsUpLittleEndian) {
  NonceSequence nonces(nonce_of({0xfe, 0x01}));
  EXPECT_EQ(nonces.next(), nonce_of({0xfe, 0x01}));
  EXPECT_EQ(nonces.next(), nonce_of({0xff, 0x01}));
  EXPECT_EQ(nonces.next(), nonce_of({0x00, 0x02}));
  EXPECT_EQ(nonces.next(), nonce_of({0x01, 0x02}));
}

TEST(NonceSequence, CarriesThroughEachByte) {
  for (std::size_t bytes = 1; bytes < 12; ++bytes) {
    Nonce start{};
    std::fill_n(start.begin(), bytes, std::uint8_t{0xff});
    NonceSequence nonces(start);
    EXPECT_EQ(nonces.next(), start);
    Nonce after{};
    after[bytes] = 1;
    EXPECT_EQ(nonces.next(), after) << bytes;
    after[0] = 1;
    EXPECT_EQ(nonces.next(), after) << bytes;
  }
}

TEST(NonceSequence, WrapsAtTheEndAndGoesOn) {
  Nonce last;
  last.fill(0xff);
  NonceSequence nonces(last);
  EXPECT_EQ(nonces.next(), last);
  EXPECT_EQ(nonces.next(), Nonce{});
  EXPECT_EQ(nonces.next(), nonce_of({1}));
}

TEST(NonceSequence, NeverRepeats) {
  NonceSequence nonces;
  std::set<Nonce> seen;
  for (int i = 0; i < 200'000; ++i) ASSERT_TRUE(seen.insert(nonces.next()).second) << i;
}

TEST(NonceSequence, EachSessionStartsSomewhereElse) {
  std::set<Nonce> starts;
  std::array<std::set<std::uint8_t>, 12> values;
  for (int i = 0; i < 500; ++i) {
    NonceSequence nonces;
    const Nonce start = nonces.next();
    ASSERT_TRUE(starts.insert(start).second);
    for (std::size_t byte = 0; byte < start.size(); ++byte) values[byte].insert(start[byte]);
  }
  // All 96 bits are drawn, not some of them.
  for (const auto& seen : values) EXPECT_GT(seen.size(), 100U);
}

TEST(ScratchPool, BuffersAreAlignedApartAndUsedAgain) {
  ScratchPool pool;
  std::set<const std::uint8_t*> first;
  {
    const auto a = pool.take();
    const auto b = pool.take();
    const auto c = pool.take();
    for (const auto* buffer : {&a, &b, &c}) {
      const MutableBytes bytes = buffer->bytes();
      ASSERT_EQ(bytes.size(), std::size_t{1} << 20);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 4096, 0U);
      EXPECT_TRUE(first.insert(bytes.data()).second);
      bytes.front() = 1;
      bytes.back() = 1;
    }
  }
  const auto d = pool.take();
  const auto e = pool.take();
  EXPECT_EQ(first.count(d.bytes().data()), 1U);
  EXPECT_EQ(first.count(e.bytes().data()), 1U);
  EXPECT_NE(d.bytes().data(), e.bytes().data());
}

TEST(ScratchPool, NoTwoThreadsHaveOneBuffer) {
  ScratchPool pool;
  std::vector<std::thread> threads;
  for (std::uint8_t t = 1; t <= 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 2000; ++i) {
        const auto buffer = pool.take();
        std::fill_n(buffer.bytes().begin(), 64, t);
        std::this_thread::yield();
        for (std::size_t at = 0; at < 64; ++at) ASSERT_EQ(buffer.bytes()[at], t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace coffer
