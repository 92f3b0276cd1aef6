#include "keystore/crypto/secret_bytes.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

template <typename T>
concept Comparable = requires(const T& a, const T& b) {
  a == b;
};
template <typename T>
concept Printable = requires(std::ostream& out, const T& a) {
  out << a;
};

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_copy_assignable_v<SecretBytes>);
static_assert(std::is_nothrow_move_constructible_v<SecretBytes>);
static_assert(std::is_nothrow_move_assignable_v<SecretBytes>);
static_assert(!std::is_convertible_v<SecretBytes, Bytes>);
static_assert(!std::is_convertible_v<std::size_t, SecretBytes>);
static_assert(!Comparable<SecretBytes>);
static_assert(!Printable<SecretBytes>);

TEST(SecretBytes, IsEmptyUntilGivenASize) {
  const SecretBytes secret;
  EXPECT_TRUE(secret.empty());
  EXPECT_EQ(secret.size(), 0U);
  EXPECT_TRUE(secret.expose().empty());
}

TEST(SecretBytes, BeginsAsZeros) {
  for (const std::size_t size : {1U, 32U, 64U, 65U, 2048U, 2049U, 100'000U}) {
    // The second round gets what the first has written to and freed.
    for (int round = 0; round < 2; ++round) {
      SecretBytes secret(size);
      ASSERT_EQ(secret.size(), size);
      ASSERT_FALSE(secret.empty());
      EXPECT_TRUE(all_zero(secret.expose())) << size;
      for (auto& byte : secret.expose()) byte = 0xa5;
    }
  }
}

TEST(SecretBytes, OfSizeZeroIsEmpty) {
  SecretBytes none(0);
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.expose().empty());
  EXPECT_TRUE(SecretBytes::copy_of({}).empty());
  EXPECT_TRUE(SecretBytes::random(0).empty());
  EXPECT_TRUE(none.clone().empty());
}

TEST(SecretBytes, CopiesOnlyWhenAsked) {
  ByteVector source = patterned(100, 1);
  const ByteVector original = source;
  const SecretBytes secret = SecretBytes::copy_of(source);
  source[0] ^= 1;
  EXPECT_TRUE(equal(secret.expose(), original));
  SecretBytes clone = secret.clone();
  EXPECT_TRUE(equal(clone.expose(), original));
  clone.expose()[0] ^= 1;
  EXPECT_TRUE(equal(secret.expose(), original));
}

TEST(SecretBytes, MovesWithoutCopying) {
  SecretBytes first = SecretBytes::copy_of(patterned(40, 1));
  const std::uint8_t* const where = first.expose().data();
  SecretBytes second(std::move(first));
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(first.expose().empty());
  EXPECT_EQ(second.expose().data(), where);
  EXPECT_EQ(second.size(), 40U);

  SecretBytes third = SecretBytes::copy_of(patterned(70, 2));
  third = std::move(second);
  EXPECT_TRUE(second.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(third.expose().data(), where);
  EXPECT_TRUE(equal(third.expose(), patterned(40, 1)));

  SecretBytes& itself = third;
  third = std::move(itself);
  EXPECT_TRUE(equal(third.expose(), patterned(40, 1)));
}

TEST(SecretBytes, ResetEmptiesIt) {
  const std::size_t before = locked_memory_use().used;
  SecretBytes secret(500);
  EXPECT_EQ(locked_memory_use().used, before + 512);
  secret.reset();
  EXPECT_TRUE(secret.empty());
  EXPECT_EQ(locked_memory_use().used, before);
  secret.reset();
  EXPECT_EQ(locked_memory_use().used, before);
}

TEST(SecretBytes, EveryWayOutGivesTheMemoryBack) {
  const std::size_t before = locked_memory_use().used;
  {
    std::vector<SecretBytes> many;
    for (std::size_t size = 0; size < 5000; size += 113) many.push_back(SecretBytes::random(size));
    many.erase(many.begin(), many.begin() + 20);
    SecretBytes target(64);
    target = std::move(many.front());
    target = SecretBytes(3000);
    target = target.clone();
    EXPECT_GT(locked_memory_use().used, before);
  }
  EXPECT_EQ(locked_memory_use().used, before);
}

TEST(SecretBytes, RandomOnesDiffer) {
  const SecretBytes a = SecretBytes::random(32);
  const SecretBytes b = SecretBytes::random(32);
  EXPECT_EQ(a.size(), 32U);
  EXPECT_FALSE(all_zero(a.expose()));
  EXPECT_FALSE(constant_time_equal(a.expose(), b.expose()));
}

TEST(MakeLocked, PutsAnObjectOnTheLockedHeap) {
  struct alignas(64) Expanded {
    std::uint8_t rounds[15][16];
  };
  const std::size_t before = locked_memory_use().used;
  {
    const auto object = make_locked<Expanded>();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(object.get()) % 64, 0U);
    EXPECT_EQ(locked_memory_use().used, before + 256);
    EXPECT_EQ(object->rounds[14][15], 0);
  }
  EXPECT_EQ(locked_memory_use().used, before);
}

TEST(Wipe, ClearsExactlyWhatItIsGiven) {
  ByteVector bytes(40, 0xff);
  wipe(MutableBytes(bytes).subspan(3, 30));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_EQ(bytes[i], i >= 3 && i < 33 ? 0 : 0xff) << i;
  }
  wipe({});
}

TEST(ConstantTimeEqual, ComparesLengthAndEveryByte) {
  const ByteVector a = patterned(64, 1);
  ByteVector b = a;
  EXPECT_TRUE(constant_time_equal(a, b));
  for (std::size_t bit = 0; bit < b.size() * 8; ++bit) {
    b[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    EXPECT_FALSE(constant_time_equal(a, b)) << bit;
    b[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  EXPECT_FALSE(constant_time_equal(a, Bytes(a).first(63)));
  EXPECT_FALSE(constant_time_equal(Bytes(a).first(63), a));
  EXPECT_TRUE(constant_time_equal({}, {}));
  EXPECT_FALSE(constant_time_equal({}, a));
}

}  // namespace
}  // namespace coffer
