#include "keystore/crypto/p256_public_key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/wycheproof.h"

namespace coffer {
namespace {

using testing::Json;

/// RFC 7515, A.3.
constexpr const char* kX = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
constexpr const char* kY = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
constexpr const char* kMessage =
    "eyJhbGciOiJFUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf"
    "Q";
constexpr const char* kSignature =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

P256PublicKey key() { return *P256PublicKey::of(*from_base64url(kX), *from_base64url(kY)); }

TEST(P256PublicKey, TheSignatureOfRfc7515) {
  ByteVector signature = *from_base64url(kSignature);
  const Bytes message = as_bytes(kMessage);
  EXPECT_TRUE(key().has_signed(message, signature));
  EXPECT_FALSE(key().has_signed(message.first(message.size() - 1), signature));
  EXPECT_FALSE(key().has_signed(message, Bytes(signature).first(63)));
  EXPECT_FALSE(key().has_signed(message, {}));
  EXPECT_FALSE(key().has_signed(message, ByteVector(64))) << "zeros";
  for (std::size_t bit = 0; bit < signature.size() * 8; ++bit) {
    signature[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    EXPECT_FALSE(key().has_signed(message, signature)) << bit;
    signature[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  signature.push_back(0);
  EXPECT_FALSE(key().has_signed(message, signature));
}

TEST(P256PublicKey, PointsThatAreNone) {
  const ByteVector x = *from_base64url(kX);
  ByteVector y = *from_base64url(kY);
  EXPECT_TRUE(P256PublicKey::of(x, y).has_value());
  EXPECT_FALSE(P256PublicKey::of(y, x).has_value());
  EXPECT_FALSE(P256PublicKey::of(x, Bytes(y).first(31)).has_value());
  EXPECT_FALSE(P256PublicKey::of({}, {}).has_value());
  EXPECT_FALSE(P256PublicKey::of(ByteVector(32), ByteVector(32)).has_value());
  y[31] ^= 1;
  EXPECT_FALSE(P256PublicKey::of(x, y).has_value()) << "beside the curve";
}

/// The signature of a JSON Web Signature (RFC 7515) that names ES256.
bool is_signed(const P256PublicKey& half, const std::string& jws) {
  const std::size_t first = jws.find('.');
  const std::size_t second = first == std::string::npos ? first : jws.find('.', first + 1);
  if (second == std::string::npos) return false;
  const auto header = from_base64url(jws.substr(0, first));
  const auto signature = from_base64url(jws.substr(second + 1));
  if (!header || !signature) return false;
  const Json said = Json::parse(as_text(*header), nullptr, false);
  return said.is_object() && said.value("alg", "") == "ES256" &&
         half.has_signed(as_bytes(jws.substr(0, second)), *signature);
}

TEST(P256PublicKey, SignaturesOfWycheproof) {
  COFFER_NEED_WYCHEPROOF();
  std::optional<P256PublicKey> half;
  const auto of_group = [&half](const Json& group) {
    if (group.at("comment") != "es256" && group.at("comment") != "SpecialCaseEs256") return false;
    const Json& numbers = group.at("public");
    half = P256PublicKey::of(*from_base64url(numbers.at("x").get<std::string>()),
                             *from_base64url(numbers.at("y").get<std::string>()));
    return half.has_value();
  };
  const auto check = [&half](const Json& test) {
    EXPECT_EQ(is_signed(*half, test.at("jws").get<std::string>()), testing::is_valid(test));
    return true;
  };
  EXPECT_EQ(testing::for_each_wycheproof("json_web_signature_test.json", of_group, check), 39U);
}

}  // namespace
}  // namespace coffer
