#include "keystore/base/bytes.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace coffer {
namespace {

ByteVector counted(std::size_t length) {
  std::mt19937 random(static_cast<std::mt19937::result_type>(length + 1));
  ByteVector bytes(length);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

TEST(Hex, KnownTexts) {
  EXPECT_EQ(to_hex({}), "");
  EXPECT_EQ(to_hex(ByteVector{0x00, 0x01, 0x9a, 0xbc, 0xff}), "00019abcff");
  EXPECT_EQ(*from_hex("00019aBCfF"), (ByteVector{0x00, 0x01, 0x9a, 0xbc, 0xff}));
  EXPECT_EQ(*from_hex(""), ByteVector{});
}

TEST(Hex, RefusesEverythingElse) {
  for (const char* text : {"0", "000", "0g", "g0", "0x00", " 00", "00 ", "-1", "+1", "é"}) {
    const auto result = from_hex(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code, Code::kInvalid) << text;
  }
  EXPECT_FALSE(from_hex(std::string_view("00\0\0", 4)).ok());
}

TEST(Hex, DecodesExactlyTheSixteenDigits) {
  for (int code = 0; code < 256; ++code) {
    const char pair[2] = {'0', static_cast<char>(code)};
    const bool digit = (code >= '0' && code <= '9') || (code >= 'a' && code <= 'f') ||
                       (code >= 'A' && code <= 'F');
    EXPECT_EQ(from_hex({pair, 2}).ok(), digit) << code;
  }
}

TEST(Base64Url, Rfc4648Vectors) {
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"},
  };
  for (const auto& [plain, text] : vectors) {
    EXPECT_EQ(to_base64url(as_bytes(plain)), text);
    EXPECT_EQ(as_text(*from_base64url(text)), plain);
  }
}

TEST(Base64Url, UsesTheUrlAlphabet) {
  EXPECT_EQ(to_base64url(ByteVector{0xfb, 0xff, 0xfe}), "-__-");
  EXPECT_EQ(*from_base64url("-__-"), (ByteVector{0xfb, 0xff, 0xfe}));
}

TEST(Base64Url, RoundTripsEveryLength) {
  for (std::size_t length = 0; length < 300; ++length) {
    const ByteVector bytes = counted(length);
    const std::string text = to_base64url(bytes);
    EXPECT_EQ(text.size(), (length * 4 + 2) / 3);
    const auto back = from_base64url(text);
    ASSERT_TRUE(back.ok()) << length;
    EXPECT_EQ(*back, bytes) << length;
  }
}

TEST(Base64Url, RefusesPaddingOtherCharactersAndImpossibleLengths) {
  for (const char* text : {"Zg==", "Zg=", "Zm8=", "Zm9v=", "=", "A", "AAAAA", "Zm+v", "Zm/v",
                           "Zm9v\n", " Zm9v", "Zm 9v", "Zm9.", "Zm9vé"}) {
    const auto result = from_base64url(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code, Code::kInvalid) << text;
  }
  EXPECT_FALSE(from_base64url(std::string_view("Zm9\0", 4)).ok());
}

TEST(Base64Url, EveryByteStringHasOneText) {
  // Of all texts of two and three characters only those without stray bits decode.
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  int two = 0;
  int three = 0;
  for (const char first : kAlphabet) {
    for (const char last : kAlphabet) {
      for (const std::string& text : {std::string{first, last}, std::string{first, 'x', last}}) {
        const auto bytes = from_base64url(text);
        if (!bytes) continue;
        (text.size() == 2 ? two : three)++;
        EXPECT_EQ(to_base64url(*bytes), text);
      }
    }
  }
  EXPECT_EQ(two, 64 * 4);
  EXPECT_EQ(three, 64 * 16);
}

TEST(LittleEndian, StoresAndLoadsAtAnOffset) {
  ByteVector buffer(16, 0xee);
  store_le(buffer, 1, std::uint64_t{0x0123456789abcdef});
  EXPECT_EQ(to_hex(buffer), "eeefcdab8967452301eeeeeeeeeeeeee");
  EXPECT_EQ(load_le<std::uint64_t>(buffer, 1), 0x0123456789abcdefU);
  EXPECT_EQ(load_le<std::uint32_t>(buffer, 1), 0x89abcdefU);
  EXPECT_EQ(load_le<std::uint16_t>(buffer, 2), 0xabcdU);
  EXPECT_EQ(load_le<std::uint8_t>(buffer, 8), 0x01U);
  store_le(buffer, 14, std::uint16_t{0x1234});
  EXPECT_EQ(to_hex(Bytes(buffer).last(2)), "3412");
}

TEST(LittleEndian, ExtremesRoundTrip) {
  ByteVector buffer(8);
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0},
                                    std::uint64_t{1} << 63, std::uint64_t{0xff00ff00ff00ff00}}) {
    store_le(buffer, 0, value);
    EXPECT_EQ(load_le<std::uint64_t>(buffer, 0), value);
    EXPECT_EQ(load_le<std::uint32_t>(buffer, 4), static_cast<std::uint32_t>(value >> 32));
  }
}

TEST(ByteWriter, Appends) {
  const std::string text = "ab";
  const ByteVector last = counted(40);
  ByteWriter writer;
  writer.text(text).zeros(2).le(std::uint32_t{0x01020304}).le(std::uint8_t{5}).bytes(last);
  EXPECT_EQ(to_hex(writer.data()), "616200000403020105" + to_hex(last));
  EXPECT_EQ(to_hex(writer.take()), "616200000403020105" + to_hex(last));
}

TEST(ByteViews, TextAndBytesAreTheSameMemory) {
  const std::string text("a\0b", 3);
  EXPECT_EQ(as_bytes(text).size(), 3U);
  EXPECT_EQ(as_text(as_bytes(text)), text);
  EXPECT_EQ(as_text(as_bytes(text)).data(), text.data());
}

TEST(ByteViews, EqualAndAllZero) {
  EXPECT_TRUE(equal({}, {}));
  EXPECT_TRUE(equal(ByteVector{1, 2}, ByteVector{1, 2}));
  EXPECT_FALSE(equal(ByteVector{1, 2}, ByteVector{1, 3}));
  EXPECT_FALSE(equal(ByteVector{1, 2}, ByteVector{1, 2, 3}));
  EXPECT_FALSE(equal(ByteVector{1}, {}));
  EXPECT_TRUE(all_zero({}));
  EXPECT_TRUE(all_zero(ByteVector(33)));
  ByteVector last(33);
  last.back() = 0x80;
  EXPECT_FALSE(all_zero(last));
}

}  // namespace
}  // namespace coffer
