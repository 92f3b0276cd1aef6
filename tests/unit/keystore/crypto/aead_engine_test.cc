#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "keystore/crypto/aead.h"
#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

using Choice = AeadEngine::Choice;

TEST(AeadEngine, SaysWhatItIs) {
  const auto openssl = AeadEngine::create(Choice::kOpenSsl);
  ASSERT_TRUE(openssl.ok());
  EXPECT_EQ(openssl->name().substr(0, 10), "openssl 3.") << openssl->name();
  const auto fastest = AeadEngine::create();
  ASSERT_TRUE(fastest.ok());
  EXPECT_FALSE(fastest->name().empty());
  ::testing::Test::RecordProperty("fastest", std::string(fastest->name()));
}

#if __has_include(<intel-ipsec-mb.h>) && defined(__x86_64__)
TEST(AeadEngine, TakesIpsecWhereThereIsOne) {
  const bool able = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("aes") != 0 &&
                    __builtin_cpu_supports("pclmul") != 0;
  const auto fastest = AeadEngine::create(Choice::kFastest);
  ASSERT_TRUE(fastest.ok());
  EXPECT_EQ(fastest->name().substr(0, 9) == "ipsec-mb ", able) << fastest->name();
}
#endif

TEST(AeadEngine, AllAgreeToTheByte) {
  const auto fastest = AeadEngine::create(Choice::kFastest);
  const auto openssl = AeadEngine::create(Choice::kOpenSsl);
  ASSERT_TRUE(fastest.ok() && openssl.ok());
  for (const Suite suite : {Suite::kAes256Gcm, Suite::kChaCha20Poly1305}) {
    for (const std::size_t length : interesting_lengths()) {
      const auto seed = static_cast<std::uint32_t>(length);
      const ByteVector key_bytes = patterned(kAeadKeySize, seed);
      const auto a = fastest->expand(suite, key_bytes);
      const auto b = openssl->expand(suite, key_bytes);
      const Nonce nonce = patterned_array<12>(seed + 1);
      const ByteVector associated = patterned(length % 77, seed + 2);
      const ByteVector plain = patterned(length, seed + 3);
      ByteVector sealed_a(length);
      ByteVector sealed_b(length);
      Tag tag_a;
      Tag tag_b;
      a->seal(nonce, associated, plain, sealed_a, tag_a);
      b->seal(nonce, associated, plain, sealed_b, tag_b);
      ASSERT_EQ(sealed_a, sealed_b) << length;
      ASSERT_EQ(tag_a, tag_b) << length;
      ByteVector opened(length);
      ASSERT_TRUE(b->open(nonce, associated, sealed_a, opened, tag_a));
      ASSERT_EQ(opened, plain) << length;
    }
  }
}

TEST(AeadEngine, SuitesDiffer) {
  const auto engine = AeadEngine::create();
  ASSERT_TRUE(engine.ok());
  const ByteVector key = patterned(kAeadKeySize, 1);
  ByteVector gcm(32);
  ByteVector chacha(32);
  Tag tag;
  engine->expand(Suite::kAes256Gcm, key)->seal(Nonce{}, {}, ByteVector(32), gcm, tag);
  engine->expand(Suite::kChaCha20Poly1305, key)->seal(Nonce{}, {}, ByteVector(32), chacha, tag);
  EXPECT_NE(gcm, chacha);
}

TEST(AeadEngine, KeysOutliveTheEngine) {
  for (const AeadVariant& variant : kAeadVariants) {
    std::unique_ptr<const AeadKey> key;
    {
      auto engine = AeadEngine::create(variant.choice);
      ASSERT_TRUE(engine.ok());
      AeadEngine moved = *std::move(engine);
      key = moved.expand(variant.suite, patterned(kAeadKeySize, 1));
      auto other = AeadEngine::create(Choice::kOpenSsl);
      ASSERT_TRUE(other.ok());
      moved = *std::move(other);
      EXPECT_EQ(moved.name().substr(0, 7), "openssl");
    }
    // Fill what was freed, so that a reference left behind shows without a sanitizer too.
    const std::vector<std::unique_ptr<ByteVector>> filler = [] {
      std::vector<std::unique_ptr<ByteVector>> blocks;
      for (std::size_t size = 16; size < 256; size += 8) {
        blocks.push_back(std::make_unique<ByteVector>(size, 0xff));
      }
      return blocks;
    }();
    ByteVector sealed(16);
    ByteVector opened(16, 0xff);
    Tag tag;
    key->seal(Nonce{}, {}, ByteVector(16), sealed, tag);
    EXPECT_TRUE(key->open(Nonce{}, {}, sealed, opened, tag)) << variant.name;
    EXPECT_TRUE(all_zero(opened));
  }
}

TEST(AeadEngine, ExpandsACopyOfTheKey) {
  for (const AeadVariant& variant : kAeadVariants) {
    ByteVector key_bytes = patterned(kAeadKeySize, 1);
    const auto key = expand_key(variant, key_bytes);
    const auto same = expand_key(variant, key_bytes);
    std::fill(key_bytes.begin(), key_bytes.end(), std::uint8_t{0});
    ByteVector sealed(16);
    ByteVector opened(16);
    Tag tag;
    key->seal(Nonce{}, {}, ByteVector(16, 5), sealed, tag);
    EXPECT_TRUE(same->open(Nonce{}, {}, sealed, opened, tag)) << variant.name;
    EXPECT_EQ(opened, ByteVector(16, 5));
  }
}

TEST(Suite, NamesAndNumbers) {
  EXPECT_EQ(to_string(Suite::kAes256Gcm), "aes-256-gcm");
  EXPECT_EQ(to_string(Suite::kChaCha20Poly1305), "chacha20-poly1305");
  for (const Suite suite : {Suite::kAes256Gcm, Suite::kChaCha20Poly1305}) {
    EXPECT_EQ(*suite_from_name(to_string(suite)), suite);
    EXPECT_EQ(*suite_from_number(static_cast<std::uint16_t>(suite)), suite);
  }
  EXPECT_EQ(*suite_from_number(1), Suite::kAes256Gcm);
  EXPECT_EQ(*suite_from_number(2), Suite::kChaCha20Poly1305);
}

TEST(Suite, RefusesOthers) {
  for (const char* name : {"", "aes", "AES-256-GCM", "aes-256-gcm ", "aes-128-gcm"}) {
    ASSERT_FALSE(suite_from_name(name).ok()) << name;
    EXPECT_EQ(suite_from_name(name).error().code, Code::kInvalid);
  }
  for (const unsigned number : {0U, 3U, 256U, 257U, 0xffffU}) {
    ASSERT_FALSE(suite_from_number(static_cast<std::uint16_t>(number)).ok()) << number;
  }
}

}  // namespace
}  // namespace coffer
