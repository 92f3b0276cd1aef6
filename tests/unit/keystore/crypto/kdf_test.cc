#include "keystore/crypto/kdf.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"
#include "tests/support/wycheproof.h"

namespace coffer {
namespace {

using testing::hex_field;
using testing::Json;
using testing::unhex;

std::string hkdf_hex(Bytes key, Bytes salt, Bytes info, std::size_t length) {
  return to_hex(hkdf_sha256(key, salt, as_text(info), length).expose());
}

TEST(Hkdf, Rfc5869Vectors) {
  std::size_t checked = 0;
  for (const char* name : {"KDF/rfc-5869-HKDF-SHA256.txt", "KDF/hkdf-generated.txt"}) {
    const auto vectors = testing::read_test_vectors(std::string(testing::kDebianVectors) + name);
    if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
    for (const auto& vector : vectors) {
      ASSERT_EQ(vector.text("Hash"), "SHA-256");
      EXPECT_EQ(hkdf_hex(vector.bytes("IKM"), vector.bytes("salt"), vector.bytes("info"),
                         vector.number("L")),
                vector.text("OKM"));
      ++checked;
    }
  }
  RecordProperty("vectors", std::to_string(checked));
  EXPECT_EQ(checked, 3U + 1U);
}

TEST(Hkdf, WycheproofVectors) {
  COFFER_NEED_WYCHEPROOF();
  std::size_t too_long = 0;
  const std::size_t checked = testing::for_each_wycheproof(
      "hkdf_sha256_test.json", [](const Json&) { return true; },
      [&](const Json& test) {
        const std::size_t size = test.at("size").get<std::size_t>();
        if (!testing::is_valid(test)) {
          // All of them ask for more than the 8160 bytes that a caller may ask for.
          EXPECT_GT(size, 8160U);
          ++too_long;
          return false;
        }
        EXPECT_EQ(hkdf_hex(hex_field(test, "ikm"), hex_field(test, "salt"), hex_field(test, "info"),
                           size),
                  test.at("okm").get<std::string>());
        return true;
      });
  EXPECT_GE(checked, 83U);
  EXPECT_GE(too_long, 3U);
}

TEST(Hkdf, AnAbsentSaltIsThirtyTwoZeros) {
  const ByteVector key(32, 7);
  const ByteVector zeros(32);
  EXPECT_EQ(hkdf_hex(key, {}, as_bytes("i"), 32), hkdf_hex(key, zeros, as_bytes("i"), 32));
  EXPECT_NE(hkdf_hex(key, ByteVector(31, 1), as_bytes("i"), 32),
            hkdf_hex(key, zeros, as_bytes("i"), 32));
}

TEST(Hkdf, EachLabelGivesAKeyOfItsOwn) {
  const ByteVector key(32, 7);
  const ByteVector salt(20, 8);
  const std::string content = hkdf_hex(key, salt, as_bytes("coffer/1/content"), 32);
  EXPECT_NE(hkdf_hex(key, salt, as_bytes("coffer/1/header"), 32), content);
  EXPECT_NE(hkdf_hex(key, salt, as_bytes("coffer/1/content2"), 32), content);
  EXPECT_NE(hkdf_hex(key, salt, {}, 32), content);
  EXPECT_NE(hkdf_hex(ByteVector(32, 6), salt, as_bytes("coffer/1/content"), 32), content);
  EXPECT_EQ(hkdf_hex(key, salt, as_bytes("coffer/1/content"), 64).substr(0, 64), content);
}

TEST(Hkdf, LengthsUpToTheLimit) {
  const ByteVector key(32, 7);
  const SecretBytes longest = hkdf_sha256(key, {}, "x", 8160);
  ASSERT_EQ(longest.size(), 8160U);
  for (const std::size_t length : {1U, 31U, 33U, 64U, 8159U}) {
    EXPECT_TRUE(equal(hkdf_sha256(key, {}, "x", length).expose(), longest.expose().first(length)));
  }
}

TEST(Scrypt, Rfc7914Vectors) {
  const auto vectors =
      testing::read_test_vectors(std::string(testing::kDebianVectors) + "KDF/scrypt.txt");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  std::size_t derived = 0;
  std::size_t refused = 0;
  for (const auto& vector : vectors) {
    const unsigned long n = vector.number("N");
    if (n > (1U << 17)) continue;  // a gigabyte
    ScryptCost cost;
    cost.log2_n = static_cast<unsigned>(__builtin_ctzl(n));
    cost.r = static_cast<unsigned>(vector.number("r"));
    cost.p = static_cast<unsigned>(vector.number("p"));
    const auto key = scrypt(as_bytes(vector.text("PASSWORD")), as_bytes(vector.text("SALT")), cost);
    if (cost.log2_n < 10 || cost.p > 4) {
      ASSERT_FALSE(key.ok());
      EXPECT_EQ(key.error().code, Code::kInvalid);
      ++refused;
      continue;
    }
    ASSERT_TRUE(key.ok());
    EXPECT_EQ(to_hex(key->expose()), vector.text("DERIVED_KEY").substr(0, 64));
    ++derived;
  }
  EXPECT_EQ(derived, 1U);
  EXPECT_EQ(refused, 2U);
}

TEST(Scrypt, SmallCosts) {
  // By Python's hashlib.scrypt.
  const struct {
    ScryptCost cost;
    const char* key;
  } known[] = {
      {{10, 8, 1}, "ea0dee985fae56b26c39b69366121b6d3960aef38415c088b5dc128ed3c5ebb3"},
      {{11, 8, 4}, "bdf867a15ceb69c8c0a469efefa6d41cfe20e3506ea68fe0117974a9e676903b"},
      {{12, 16, 2}, "03d206ee7b55e8d2c04b51fb5e20f2307fee02a70ec993893de7ca318b8ab4a4"},
      {{15, 1, 1}, "7b9aa4b6e7388e480d65fd72b0c8703d2fef06436b5b6a89c79249136e2f9ca4"},
  };
  for (const auto& [cost, expected] : known) {
    const auto key = scrypt(as_bytes("correct horse"), as_bytes("0123456789abcdef"), cost);
    ASSERT_TRUE(key.ok()) << key.error().message();
    EXPECT_EQ(to_hex(key->expose()), expected);
  }
}

TEST(Scrypt, RefusesCostsOutOfBounds) {
  // Any of the larger ones would take gigabytes, and minutes; 2^64 could not be counted.
  const ScryptCost refused[] = {
      {9, 8, 1},   {21, 8, 1}, {64, 8, 1}, {0, 8, 1},           {~0U, 8, 1},         {17, 0, 1},
      {17, 17, 1}, {17, 8, 0}, {17, 8, 5}, {17, 0x10000001, 1}, {17, 8, 0x10000001}, {21, 17, 5},
  };
  for (const ScryptCost& cost : refused) {
    const auto key = scrypt(as_bytes("p"), as_bytes("salt"), cost);
    ASSERT_FALSE(key.ok()) << cost.log2_n << " " << cost.r << " " << cost.p;
    EXPECT_EQ(key.error().code, Code::kInvalid);
  }
}

TEST(Scrypt, RefusesWhatRfc7914DoesNotDefine) {
  // N has to be less than 2^(128·r/8).
  const auto key = scrypt(as_bytes("p"), as_bytes("salt"), {16, 1, 1});
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code, Code::kInvalid) << key.error().message();
}

TEST(Scrypt, TakesAnyPassphraseAndSalt) {
  const ScryptCost cost{10, 8, 1};
  const auto empty = scrypt({}, {}, cost);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(to_hex(empty->expose()),
            "225009a832a3041c158e2ab8913019a27674c604d704a38ad1c7b58401a88b21");
  const auto with_nul = scrypt(as_bytes(std::string_view("a\0b", 3)), {}, cost);
  ASSERT_TRUE(with_nul.ok());
  EXPECT_FALSE(constant_time_equal(with_nul->expose(), scrypt(as_bytes("a"), {}, cost)->expose()));
}

}  // namespace
}  // namespace coffer
