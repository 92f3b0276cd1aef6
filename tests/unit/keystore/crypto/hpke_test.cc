#include "keystore/crypto/hpke.h"

#include <gtest/gtest.h>

#include <string>

namespace coffer {
namespace {

ByteVector bytes_of(std::string_view hex) { return *from_hex(hex); }
SecretBytes secret_of(std::string_view hex) { return SecretBytes::copy_of(bytes_of(hex)); }
HpkePublicKey public_key_of(std::string_view hex) {
  HpkePublicKey key{};
  const ByteVector bytes = bytes_of(hex);
  std::copy(bytes.begin(), bytes.end(), key.begin());
  return key;
}

constexpr std::string_view kInfo = "Ode on a Grecian Urn";

TEST(Hpke, SealsAsOthersDo) {
  // DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base mode, first message: of the vectors
  // that implementations of RFC 9180 share (the RFC itself prints none with AES-256-GCM).
  const auto sealed = hpke_seal_with(
      secret_of("28e212563a8b6f068af7ff17400ff1baf23612b7a738bbaf5dfb321b2b5b431a"),
      public_key_of("ac66bae9ffa270cf4a89ed9f274e30c0456babae2572aaaf002ff0d8884ab018"), kInfo,
      as_bytes("Count-0"), as_bytes("Beauty is truth, truth beauty"));
  ASSERT_TRUE(sealed.ok());
  EXPECT_EQ(to_hex(Bytes(*sealed).subspan(32)),
            "23ded2d5d90ea89d975dac4792b297240f194952d7421aacbff0474100052b6bb8aa58d18ef6c42b6960e2"
            "e28f");
}

TEST(Hpke, PublicKeysAreX25519s) {
  // RFC 9180, A.1.1.
  EXPECT_EQ(to_hex(hpke_public_key(
                secret_of("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736"))),
            "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
}

class HpkeSealed : public ::testing::Test {
 protected:
  const SecretBytes key_ = SecretBytes::random(32);
  const HpkePublicKey public_ = hpke_public_key(key_);
  const ByteVector plain_ = bytes_of("000102030405060708090a0b0c0d0e0f");
  const ByteVector sealed_ = *hpke_seal(public_, "info", as_bytes("aad"), plain_);
};

TEST_F(HpkeSealed, OpensAgain) {
  const auto opened = hpke_open(key_, "info", as_bytes("aad"), sealed_);
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(constant_time_equal(opened->expose(), plain_));
  EXPECT_EQ(sealed_.size(), plain_.size() + kHpkeOverhead);
  EXPECT_NE(*hpke_seal(public_, "info", as_bytes("aad"), plain_), sealed_);
  const auto empty = hpke_seal(public_, "", {}, {});
  EXPECT_EQ(hpke_open(key_, "", {}, *empty)->size(), 0U);
}

TEST_F(HpkeSealed, NothingElseOpens) {
  const auto code = [](const Result<SecretBytes>& opened) {
    return opened.ok() ? Code{} : opened.error().code;
  };
  EXPECT_EQ(code(hpke_open(SecretBytes::random(32), "info", as_bytes("aad"), sealed_)),
            Code::kCorrupt);
  EXPECT_EQ(code(hpke_open(key_, "inf0", as_bytes("aad"), sealed_)), Code::kCorrupt);
  EXPECT_EQ(code(hpke_open(key_, "info", as_bytes("aae"), sealed_)), Code::kCorrupt);
  for (std::size_t size = 0; size < sealed_.size(); ++size) {
    ASSERT_EQ(code(hpke_open(key_, "info", as_bytes("aad"), Bytes(sealed_).first(size))),
              Code::kCorrupt);
  }
  for (std::size_t bit = 0; bit < 8 * sealed_.size(); ++bit) {
    // The highest bit of a coordinate is not looked at (RFC 7748, 5), but stands in the context.
    ByteVector altered = sealed_;
    altered[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_EQ(code(hpke_open(key_, "info", as_bytes("aad"), altered)), Code::kCorrupt) << bit;
  }
}

TEST_F(HpkeSealed, NoKeyThatIsTheSameForAll) {
  EXPECT_EQ(hpke_seal(HpkePublicKey{}, "info", {}, plain_).error().code, Code::kInvalid);
  ByteVector altered = sealed_;
  std::fill_n(altered.begin(), 32, 0);
  EXPECT_EQ(hpke_open(key_, "info", as_bytes("aad"), altered).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace coffer
