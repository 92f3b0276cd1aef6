#include "keystore/crypto/signature.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/vectors.h"
#include "tests/support/wycheproof.h"

namespace coffer {
namespace {

using testing::hex_field;
using testing::Json;
using testing::unhex;

Ed25519PublicKey public_key(Bytes bytes) {
  Ed25519PublicKey key{};
  EXPECT_EQ(bytes.size(), key.size());
  std::copy_n(bytes.begin(), std::min(bytes.size(), key.size()), key.begin());
  return key;
}

struct Rfc8032 {
  const char* seed;
  const char* key;
  const char* message;
  const char* signature;
};

/// RFC 8032, 7.1, tests 1 to 3.
constexpr Rfc8032 kVectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc"
     "6"
     "594a7c15e9716ed28dc027beceea1ec40a"}};

TEST(Ed25519, Rfc8032Vectors) {
  for (const Rfc8032& vector : kVectors) {
    const Ed25519Key key(SecretBytes::copy_of(unhex(vector.seed)));
    EXPECT_EQ(to_hex(key.public_key()), vector.key);
    EXPECT_EQ(to_hex(key.sign(unhex(vector.message))), vector.signature);
    EXPECT_TRUE(ed25519_verify(key.public_key(), unhex(vector.message), unhex(vector.signature)));
  }
}

TEST(Ed25519, NothingElseVerifies) {
  const Ed25519Key key(SecretBytes::copy_of(unhex(kVectors[2].seed)));
  const ByteVector message = unhex(kVectors[2].message);
  const ByteVector signature = unhex(kVectors[2].signature);
  for (std::size_t i = 0; i < signature.size(); ++i) {
    ByteVector altered = signature;
    altered[i] ^= 1;
    EXPECT_FALSE(ed25519_verify(key.public_key(), message, altered)) << i;
    EXPECT_FALSE(ed25519_verify(key.public_key(), message, Bytes(signature).first(i))) << i;
  }
  EXPECT_FALSE(ed25519_verify(key.public_key(), {}, signature));
  const Ed25519Key other(SecretBytes::copy_of(unhex(kVectors[1].seed)));
  EXPECT_FALSE(ed25519_verify(other.public_key(), message, signature));
}

TEST(Ed25519, WycheproofVectors) {
  COFFER_NEED_WYCHEPROOF();
  Ed25519PublicKey key{};
  const std::size_t checked = testing::for_each_wycheproof(
      "ed25519_test.json",
      [&](const Json& group) {
        key = public_key(hex_field(group.at("publicKey"), "pk"));
        return true;
      },
      [&](const Json& test) {
        EXPECT_EQ(ed25519_verify(key, hex_field(test, "msg"), hex_field(test, "sig")),
                  testing::is_valid(test));
        return true;
      });
  EXPECT_EQ(checked, 151U);
}

}  // namespace
}  // namespace coffer
