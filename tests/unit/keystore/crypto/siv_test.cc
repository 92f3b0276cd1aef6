#include "keystore/crypto/siv.h"

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

const ByteVector kSivKey = patterned(Siv::kKeySize, 1);

TEST(Siv, OpensWhatItSealedAtEveryNameLength) {
  const Siv siv(kSivKey);
  const ByteVector directory = patterned(16, 2);
  for (std::size_t length = 1; length <= 4100; length += length < 300 ? 1 : 95) {
    const ByteVector plain = patterned(length, 3);
    const ByteVector sealed = siv.seal({directory}, plain);
    ASSERT_EQ(sealed.size(), length + Siv::kOverhead);
    ASSERT_EQ(siv.seal({directory}, plain), sealed) << "not deterministic";
    const auto opened = siv.open({directory}, sealed);
    ASSERT_TRUE(opened.ok()) << length;
    ASSERT_EQ(*opened, plain);
  }
}

TEST(Siv, RefusesAnyChangedBit) {
  const Siv siv(kSivKey);
  ByteVector directory = patterned(16, 2);
  ByteVector sealed = siv.seal({directory}, as_bytes("model.safetensors"));
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    sealed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    const auto opened = siv.open({directory}, sealed);
    ASSERT_FALSE(opened.ok()) << bit;
    EXPECT_EQ(opened.error().code, Code::kCorrupt);
    sealed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  for (std::size_t bit = 0; bit < directory.size() * 8; ++bit) {
    directory[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(siv.open({directory}, sealed).ok()) << bit;
    directory[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  for (std::size_t length = 0; length < sealed.size(); ++length) {
    ASSERT_FALSE(siv.open({directory}, Bytes(sealed).first(length)).ok()) << length;
  }
  sealed.push_back(0);
  EXPECT_FALSE(siv.open({directory}, sealed).ok());
}

TEST(Siv, AnotherKeyOpensNothing) {
  const ByteVector sealed = Siv(kSivKey).seal({as_bytes("d")}, as_bytes("name"));
  for (const std::size_t byte : {0U, 31U, 32U, 63U}) {  // of the MAC's half and of the cipher's
    ByteVector other = kSivKey;
    other[byte] ^= 1;
    EXPECT_FALSE(Siv(other).open({as_bytes("d")}, sealed).ok()) << byte;
    EXPECT_NE(Siv(other).seal({as_bytes("d")}, as_bytes("name")), sealed);
  }
}

TEST(Siv, AssociatedStringsAreAVector) {
  // Each of these is another input: strings are not joined, none is left out, empty ones count.
  const Siv siv(kSivKey);
  const Bytes plain = as_bytes("name");
  const Bytes null;
  const Bytes empty = as_bytes(std::string_view("x").substr(1));
  const std::vector<ByteVector> sealed = {
      siv.seal({}, plain),
      siv.seal({empty}, plain),
      siv.seal({empty, empty}, plain),
      siv.seal({as_bytes("ab")}, plain),
      siv.seal({as_bytes("a"), as_bytes("b")}, plain),
      siv.seal({as_bytes("b"), as_bytes("a")}, plain),
      siv.seal({as_bytes("ab"), empty}, plain),
      siv.seal({empty, as_bytes("ab")}, plain),
  };
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(sealed[i], sealed[j]) << i << " and " << j;
  }
  EXPECT_EQ(siv.seal({null}, plain), siv.seal({empty}, plain)) << "empty is empty";
  EXPECT_TRUE(siv.open({null}, sealed[1]).ok());
  EXPECT_FALSE(siv.open({}, sealed[1]).ok());
}

TEST(Siv, SurvivesAMove) {
  Siv first(kSivKey);
  const ByteVector sealed = first.seal({}, as_bytes("name"));
  Siv second(std::move(first));
  EXPECT_TRUE(second.open({}, sealed).ok());
  Siv third(patterned(Siv::kKeySize, 9));
  third = std::move(second);
  EXPECT_TRUE(third.open({}, sealed).ok());
}

TEST(Siv, OneKeyServesManyThreads) {
  const Siv siv(kSivKey);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint32_t i = 0; i < 200; ++i) {
        const ByteVector directory = patterned(16, thread);
        const ByteVector plain = patterned(1 + i, i);
        ByteVector sealed = siv.seal({directory}, plain);
        const auto opened = siv.open({directory}, sealed);
        if (!opened || *opened != plain) ++failures;
        sealed.back() ^= 1;
        if (siv.open({directory}, sealed)) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(SivVectors, Rfc5297ForAes256) {
  const auto vectors = testing::read_test_vectors(std::string(testing::kDebianVectors) +
                                                  "ciphers/AES/SIV/openssl.txt");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  std::size_t checked = 0;
  for (const auto& vector : vectors) {
    const ByteVector key = vector.bytes("Key");
    if (key.size() != Siv::kKeySize) continue;
    const ByteVector sealed = Siv(key).seal({vector.bytes("AAD")}, vector.bytes("Plaintext"));
    EXPECT_EQ(to_hex(sealed), vector.text("Tag") + vector.text("Ciphertext"));
    ++checked;
  }
  EXPECT_EQ(checked, 1U);
}

/// One Wycheproof test; false for the empty messages, which Siv does not take.
bool check_siv(const Json& test, std::initializer_list<Bytes> associated,
               const ByteVector& sealed) {
  if (sealed.size() == Siv::kOverhead) {
    EXPECT_FALSE(Siv(hex_field(test, "key")).open(associated, sealed).ok());
    return false;
  }
  const Siv siv(hex_field(test, "key"));
  const auto opened = siv.open(associated, sealed);
  EXPECT_EQ(opened.ok(), testing::is_valid(test));
  const ByteVector plain = hex_field(test, "msg");
  if (testing::is_valid(test)) {
    EXPECT_EQ(to_hex(siv.seal(associated, plain)), to_hex(sealed));
    EXPECT_EQ(opened.ok() ? to_hex(*opened) : "refused", to_hex(plain));
  }
  return true;
}

TEST(SivVectors, WycheproofOneAssociatedString) {
  COFFER_NEED_WYCHEPROOF();
  const std::size_t checked = testing::for_each_wycheproof(
      "aes_siv_cmac_test.json", [](const Json& group) { return group.at("keySize") == 512; },
      [](const Json& test) {
        return check_siv(test, {hex_field(test, "aad")}, hex_field(test, "ct"));
      });
  EXPECT_GE(checked, 100U);
}

TEST(SivVectors, WycheproofWithANonce) {
  // RFC 5297 section 6: the nonce is the last associated string.
  COFFER_NEED_WYCHEPROOF();
  const std::size_t checked = testing::for_each_wycheproof(
      "aead_aes_siv_cmac_test.json", [](const Json& group) { return group.at("keySize") == 512; },
      [](const Json& test) {
        ByteVector sealed = hex_field(test, "tag");
        const ByteVector body = hex_field(test, "ct");
        sealed.insert(sealed.end(), body.begin(), body.end());
        return check_siv(test, {hex_field(test, "aad"), hex_field(test, "iv")}, sealed);
      });
  EXPECT_GE(checked, 200U);
}

}  // namespace
}  // namespace coffer
