#include "keystore/crypto/random.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <set>
#include <string>

namespace coffer {
namespace {

TEST(Random, FillsTheWholeOfItAndNoMore) {
  for (const auto generate : {random_bytes, random_key_bytes}) {
    // That any of 40 draws leaves the same byte zero has a chance of 256^-40.
    constexpr std::size_t kLength = 97;
    std::array<bool, kLength> seen{};
    for (int draw = 0; draw < 40; ++draw) {
      std::array<std::uint8_t, kLength + 2> buffer{};
      generate(MutableBytes(buffer).subspan(1, kLength));
      EXPECT_EQ(buffer.front(), 0);
      EXPECT_EQ(buffer.back(), 0);
      for (std::size_t i = 0; i < kLength; ++i) seen[i] = seen[i] || buffer[i + 1] != 0;
    }
    for (std::size_t i = 0; i < kLength; ++i) EXPECT_TRUE(seen[i]) << i;
  }
}

TEST(Random, NoTwoAreAlike) {
  std::set<std::string> seen;
  for (int i = 0; i < 2000; ++i) {
    std::array<std::uint8_t, 16> bytes{};
    (i % 2 == 0 ? random_bytes : random_key_bytes)(bytes);
    EXPECT_TRUE(seen.insert(to_hex(bytes)).second);
  }
}

TEST(Random, TakesNothing) {
  random_bytes({});
  random_key_bytes({});
}

TEST(Random, AForkedChildDrawsOthers) {
  std::array<std::uint8_t, 16> warm_up{};
  random_bytes(warm_up);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  std::array<std::uint8_t, 16> mine{};
  random_bytes(mine);
  if (child == 0) {
    const bool sent = ::write(ends[1], mine.data(), mine.size()) == 16;
    ::_exit(sent ? 0 : 1);
  }
  std::array<std::uint8_t, 16> theirs{};
  ASSERT_EQ(::read(ends[0], theirs.data(), theirs.size()), 16);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(status, 0);
  EXPECT_NE(mine, theirs);
}

}  // namespace
}  // namespace coffer
