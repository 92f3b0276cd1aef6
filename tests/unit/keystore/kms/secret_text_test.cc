#include "keystore/kms/secret_text.h"

#include <gtest/gtest.h>

#include <string>

namespace coffer {
namespace {

std::string text_of(const SecretBytes& secret) { return std::string(as_text(secret.expose())); }

TEST(SecretText, Base64OfRfc4648) {
  const std::pair<const char*, const char*> known[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : known) {
    EXPECT_EQ(text_of(to_secret_base64(as_bytes(plain))), encoded);
    const auto decoded = from_secret_base64(as_bytes(encoded));
    ASSERT_TRUE(decoded.ok()) << encoded;
    EXPECT_EQ(text_of(*decoded), plain);
  }
  const ByteVector high = {0xfb, 0xff, 0xbf};
  EXPECT_EQ(text_of(to_secret_base64(high)), "+/+/");
  for (const char* const odd :
       {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Zg==Zg==", "Zm9v\n", "Zm-v", "Z=g=", "Zm9\x80"})
    EXPECT_FALSE(from_secret_base64(as_bytes(odd)).ok()) << odd;
}

std::string taken(std::string json, std::string* rest = nullptr) {
  const MutableBytes bytes(reinterpret_cast<std::uint8_t*>(json.data()), json.size());
  const auto secret = take_secret_member(bytes, "plaintext");
  if (rest != nullptr) *rest = json;
  return secret ? text_of(*secret) : "none";
}

TEST(SecretText, TakesTheOneMember) {
  std::string rest;
  EXPECT_EQ(taken(R"({"data": {"plaintext" : "c2VjcmV0", "n": 1}})", &rest), "c2VjcmV0");
  EXPECT_EQ(rest, R"({"data": {"plaintext" : "********", "n": 1}})");
  EXPECT_EQ(taken(R"({"plaintext":""})"), "");
  EXPECT_EQ(taken(R"({"a":"plaintext","b\"plaintext\":":"x","plaintext":"y"})"), "y");
  EXPECT_EQ(taken(R"({"plaintext":"a\"b"})"), R"(a\"b)");
  for (const char* const odd :
       {"", "{}", R"({"plaintext":1})", R"({"plaintext":null})", R"({"plaintext":"a)",
        R"({"plaintext":"a\")", R"({"plaintext")", R"({"plaintext":)", R"(["plaintext"])",
        R"({"plaintext":"a","plaintext":"b"})", R"({"x":"plaintext":)", "\"\\"})
    EXPECT_EQ(taken(odd), "none") << odd;
}

TEST(SecretText, PlainText) {
  EXPECT_TRUE(is_plain_text(as_bytes("hvs.CAES-_+/=~")));
  for (const char* const odd : {"a b", "a\"b", "a\\b", "a\nb", "a\x7f", "\xc3\xa4"})
    EXPECT_FALSE(is_plain_text(as_bytes(odd))) << odd;
}

}  // namespace
}  // namespace coffer
