#include "keystore/crypto/box.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/vectors.h"
#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

using testing::unhex;

const ByteVector kKey = patterned(32, 1);
const ByteVector kPlain = patterned(32, 2);
const ByteVector kAssociated = patterned(64, 3);

TEST(Box, OpensWhatItSealed) {
  for (const std::size_t length : {0U, 1U, 16U, 31U, 32U, 33U, 1000U, 5000U}) {
    const ByteVector plain = patterned(length, 4);
    const ByteVector box = seal_box(kKey, kAssociated, plain);
    EXPECT_EQ(box.size(), length + kBoxOverhead);
    const auto opened = open_box(kKey, kAssociated, box);
    ASSERT_TRUE(opened.ok()) << length;
    EXPECT_TRUE(equal(opened->expose(), plain));
  }
  EXPECT_EQ(seal_box(kKey, kAssociated, kPlain).size(), 61U);  // FORMAT.md: a wrapped 32-byte key
}

TEST(Box, IsLaidOutAsTheFormatSays) {
  // 01 ‖ nonce ‖ ciphertext ‖ tag, made by Python's `cryptography`: key 00 … 1f, nonce 40 … 4b, AAD
  // "associated", plaintext "a wrapped key of thirty-two byte".
  const ByteVector key = unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  const ByteVector box = unhex(
      "01404142434445464748494a4b8399d951474cf766a9e47c53e2447c3d59b23a35c541760e033021c5f56a99bec2"
      "5b2b1053c9bda504589751390bece2");
  const auto opened = open_box(key, as_bytes("associated"), box);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(as_text(opened->expose()), "a wrapped key of thirty-two byte");
}

TEST(Box, HasAFreshNonceEachTime) {
  std::set<std::string> nonces;
  for (int i = 0; i < 200; ++i) {
    const ByteVector box = seal_box(kKey, kAssociated, kPlain);
    EXPECT_EQ(box[0], 1);
    EXPECT_TRUE(nonces.insert(to_hex(Bytes(box).subspan(1, 12))).second);
  }
}

TEST(Box, RefusesEveryChangedBit) {
  ByteVector box = seal_box(kKey, kAssociated, kPlain);
  for (std::size_t bit = 0; bit < box.size() * 8; ++bit) {
    box[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    const auto opened = open_box(kKey, kAssociated, box);
    ASSERT_FALSE(opened.ok()) << bit;
    EXPECT_EQ(opened.error().code, bit < 8 ? Code::kUnknownVersion : Code::kCorrupt) << bit;
    box[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  EXPECT_TRUE(open_box(kKey, kAssociated, box).ok());
}

TEST(Box, IsBoundToItsAssociatedDataAndKey) {
  const ByteVector box = seal_box(kKey, kAssociated, kPlain);
  ByteVector other = kAssociated;
  for (std::size_t bit = 0; bit < other.size() * 8; ++bit) {
    other[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(open_box(kKey, other, box).ok()) << bit;
    other[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  EXPECT_FALSE(open_box(kKey, Bytes(kAssociated).first(63), box).ok());
  EXPECT_FALSE(open_box(kKey, {}, box).ok());
  EXPECT_FALSE(open_box(patterned(32, 9), kAssociated, box).ok());
}

TEST(Box, RefusesWhatIsCutOrLengthened) {
  ByteVector box = seal_box(kKey, kAssociated, kPlain);
  for (std::size_t length = 0; length < box.size(); ++length) {
    const auto opened = open_box(kKey, kAssociated, Bytes(box).first(length));
    ASSERT_FALSE(opened.ok()) << length;
    EXPECT_EQ(opened.error().code, Code::kCorrupt) << length;
  }
  box.push_back(0);
  EXPECT_EQ(open_box(kKey, kAssociated, box).error().code, Code::kCorrupt);
}

TEST(Box, RefusesOtherVersions) {
  const ByteVector sealed = seal_box(kKey, kAssociated, kPlain);
  for (const unsigned version : {0U, 2U, 255U}) {
    ByteVector box = sealed;
    box[0] = static_cast<std::uint8_t>(version);
    const auto opened = open_box(kKey, kAssociated, box);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Code::kUnknownVersion);
  }
}

}  // namespace
}  // namespace coffer
