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

TEST(SecretText, Base64OfUrls) {
  const std::pair<const char*, const char*> known[] = {
      {"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}};
  for (const auto& [plain, encoded] : known) {
    EXPECT_EQ(text_of(to_secret_base64url(as_bytes(plain))), encoded);
    const auto decoded = from_secret_base64url(as_bytes(encoded));
    ASSERT_TRUE(decoded.ok()) << encoded;
    EXPECT_EQ(text_of(*decoded), plain);
  }
  EXPECT_EQ(text_of(to_secret_base64url(ByteVector{0xfb, 0xff, 0xbf})), "-_-_");
  EXPECT_TRUE(
      equal(from_secret_base64url(as_bytes("-_-_"))->expose(), ByteVector{0xfb, 0xff, 0xbf}));
  for (const char* const odd :
       {"Z", "Zg==", "Zm8=", "+/+/", "Zh", "Zm9", "Zm9vZ", "Zm 9v", "Zm9v\n"})
    EXPECT_FALSE(from_secret_base64url(as_bytes(odd)).ok()) << odd;
}

TEST(SecretText, ValuesOfForms) {
  EXPECT_EQ(text_of(to_secret_form(as_bytes(""))), "");
  EXPECT_EQ(text_of(to_secret_form(as_bytes("aZ09-._"))), "aZ09-._");
  EXPECT_EQ(text_of(to_secret_form(as_bytes("1//x+y=&~ \n\xff"))),
            "1%2F%2Fx%2By%3D%26%7E%20%0A%FF");
}

TEST(SecretText, AMemberThatMayNotBeThere) {
  std::string json = R"({"a":"1","b":"2"})";
  const auto take = [&json](const char* name) {
    const auto taken =
        take_secret_if_there({reinterpret_cast<std::uint8_t*>(json.data()), json.size()}, name);
    return taken ? text_of(*taken) : "none";
  };
  EXPECT_EQ(take("b"), "2");
  EXPECT_EQ(json, R"({"a":"1","b":"*"})");
  EXPECT_EQ(take("c"), "");
  json = R"({"a":1})";
  EXPECT_EQ(take("a"), "none");
  json = R"({"a":"1","a":"2"})";
  EXPECT_EQ(take("a"), "none");
}

TEST(SecretText, TakesAllMembersOfTheName) {
  std::string json;
  const auto take = [&json](std::string text) {
    json = std::move(text);
    const auto found = take_secret_members(
        {reinterpret_cast<std::uint8_t*>(json.data()), json.size()}, "plaintext");
    if (!found) return std::string("none");
    std::string all;
    for (const SecretBytes& each : *found) all += text_of(each) + ";";
    return all;
  };
  EXPECT_EQ(
      take(R"([{"plaintext":"ab"},{"error":"plaintext"},{"plaintext": ""},{"plaintext":"c"}])"),
      "ab;;c;");
  EXPECT_EQ(json,
            R"([{"plaintext":"**"},{"error":"plaintext"},{"plaintext": ""},{"plaintext":"*"}])");
  EXPECT_EQ(take(R"({"errors":[]})"), "");
  EXPECT_EQ(take(""), "");
  for (const char* const odd : {R"([{"plaintext":"a"},{"plaintext":1}])", R"([{"plaintext":"a)"})
    EXPECT_EQ(take(odd), "none") << odd;
}

TEST(SecretText, EscapesOfJson) {
  const auto undone = [](std::string_view text) {
    const auto plain = without_escapes(as_bytes(text));
    return plain ? text_of(*plain) : "none";
  };
  EXPECT_EQ(undone(R"(a\n\"\\\/\u003d\u003D\tb)"), "a\n\"\\/==\tb");
  EXPECT_EQ(undone(""), "");
  for (const char* const odd : {"\\", "\\x", "\\u003", "\\u00g0", "\\u00e9", "\xc3\xa9"})
    EXPECT_EQ(undone(odd), "none") << odd;
}

TEST(SecretText, Pem) {
  const auto decoded = [](const std::string& text) {
    const auto bytes = from_secret_pem(as_bytes(text), "X KEY");
    return bytes ? text_of(*bytes) : "none";
  };
  const std::string begin = "-----BEGIN X KEY-----";
  const std::string end = "-----END X KEY-----";
  EXPECT_EQ(decoded(begin + "\nZm9v\r\nYmFy\n" + end + "\n\n"), "foobar");
  EXPECT_EQ(decoded(begin + end), "");
  for (const std::string& odd :
       {std::string(), begin, end, "x" + begin + "\nZm9v\n" + end, begin + "\nZm9\n" + end,
        begin + "\nZm9v\n" + end + "x", end + "\nZm9v\n" + begin,
        std::string("-----BEGIN Y KEY-----\nZm9v\n-----END Y KEY-----")})
    EXPECT_EQ(decoded(odd), "none") << odd;
}

}  // namespace
}  // namespace coffer
