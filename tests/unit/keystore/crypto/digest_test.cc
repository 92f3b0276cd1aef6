#include "keystore/crypto/digest.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"
#include "tests/support/wycheproof.h"
#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

using testing::hex_field;
using testing::Json;

const ByteVector kHmacKey = patterned(32, 1);

TEST(Sha256, CavpVectors) {
  std::size_t checked = 0;
  for (const char* name : {"SHA256ShortMsg.rsp", "SHA256LongMsg.rsp"}) {
    const auto vectors =
        testing::read_test_vectors(std::string(testing::kDebianVectors) + "hashes/SHA2/" + name);
    if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
    for (const auto& vector : vectors) {
      const ByteVector message = vector.bytes("Msg");
      const std::size_t length = vector.number("Len") / 8;
      EXPECT_EQ(to_hex(sha256(Bytes(message).first(length))), vector.text("MD"));
      ++checked;
    }
  }
  RecordProperty("vectors", std::to_string(checked));
  EXPECT_EQ(checked, 65U + 64U);
}

TEST(Sha256, OfNothing) {
  constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  EXPECT_EQ(to_hex(sha256({})), kEmpty);
  EXPECT_EQ(to_hex(sha256(as_bytes(""))), kEmpty);
}

TEST(Hmac, Rfc4231Vectors) {
  const auto vectors =
      testing::read_test_vectors(std::string(testing::kDebianVectors) + "HMAC/rfc-4231-sha256.txt");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  for (const auto& vector : vectors) {
    EXPECT_EQ(to_hex(HmacKey(vector.bytes("Key")).mac(vector.bytes("Msg"))), vector.text("MD"));
  }
  RecordProperty("vectors", std::to_string(vectors.size()));
  EXPECT_EQ(vectors.size(), 6U);
}

TEST(Hmac, WycheproofVectors) {
  COFFER_NEED_WYCHEPROOF();
  std::size_t whole = 0;
  const std::size_t checked = testing::for_each_wycheproof(
      "hmac_sha256_test.json", [](const Json&) { return true; },
      [&](const Json& test) {
        const HmacKey key(hex_field(test, "key"));
        const ByteVector message = hex_field(test, "msg");
        const ByteVector tag = hex_field(test, "tag");
        EXPECT_EQ(key.verify(message, tag), testing::is_valid(test));
        const Digest mac = key.mac(message);
        EXPECT_EQ(equal(Bytes(mac).first(tag.size()), tag), testing::is_valid(test));
        if (tag.size() == mac.size()) ++whole;
        return true;
      });
  EXPECT_GE(checked, 174U);
  EXPECT_GT(whole, 0U);
  EXPECT_LT(whole, checked);
}

TEST(Hmac, PiecesCountAsJoined) {
  const HmacKey key(kHmacKey);
  const ByteVector all = patterned(200, 2);
  const Digest joined = key.mac(all);
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    const Bytes head = Bytes(all).first(cut);
    const Bytes tail = Bytes(all).subspan(cut);
    EXPECT_EQ(key.mac({head, tail}), joined);
    EXPECT_EQ(key.mac({head, {}, tail, {}}), joined);
    HmacStream stream(kHmacKey);
    stream.add(head);
    stream.add({});
    stream.add(tail);
    EXPECT_EQ(stream.finish(), joined);
  }
  EXPECT_EQ(key.mac(Bytes{}), key.mac(std::initializer_list<Bytes>{}));
  EXPECT_EQ(key.mac(Bytes{}), HmacStream(kHmacKey).finish());
}

TEST(Sha256, OfPiecesIsThatOfTheWhole) {
  const ByteVector data = patterned(300, 3);
  for (std::size_t cut = 0; cut <= data.size(); cut += 13) {
    Sha256Stream stream;
    stream.add(Bytes(data).first(cut));
    stream.add({});
    stream.add(Bytes(data).subspan(cut));
    EXPECT_EQ(stream.finish(), sha256(data)) << cut;
  }
  EXPECT_EQ(Sha256Stream().finish(), sha256({}));
}

TEST(Hmac, MacLeavesTheKeyAsItWas) {
  const HmacKey key(kHmacKey);
  const Digest first = key.mac(as_bytes("a"));
  EXPECT_NE(key.mac(as_bytes("b")), first);
  EXPECT_EQ(key.mac(as_bytes("a")), first);
  HmacKey moved = HmacKey(patterned(32, 9));
  EXPECT_NE(moved.mac(as_bytes("a")), first);
  moved = HmacKey(kHmacKey);
  EXPECT_EQ(moved.mac(as_bytes("a")), first);
}

TEST(Hmac, VerifyTakesSixteenBytesAtLeastAndNoFalseOne) {
  const HmacKey key(kHmacKey);
  const Bytes data = as_bytes("data");
  const Digest mac = key.mac(data);
  ByteVector longer(mac.begin(), mac.end());
  longer.push_back(0);
  for (std::size_t length = 0; length <= 33; ++length) {
    EXPECT_EQ(key.verify(data, Bytes(longer).first(length)), length >= 16 && length <= 32)
        << length;
  }
  for (const std::size_t length : {16U, 20U, 32U}) {
    for (std::size_t bit = 0; bit < length * 8; ++bit) {
      ByteVector wrong(mac.begin(), mac.begin() + static_cast<std::ptrdiff_t>(length));
      wrong[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
      EXPECT_FALSE(key.verify(data, wrong)) << bit;
    }
  }
  EXPECT_FALSE(key.verify(as_bytes("date"), mac));
}

TEST(Hmac, OneKeyServesManyThreads) {
  const HmacKey key(kHmacKey);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint32_t i = 0; i < 300; ++i) {
        const ByteVector data = patterned(i, thread);
        HmacStream stream(kHmacKey);
        stream.add(data);
        if (key.mac(data) != stream.finish()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace coffer
