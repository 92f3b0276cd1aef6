// AES-256-GCM and ChaCha20-Poly1305 by known answers: Wycheproof, NIST CAVP, BoringSSL.

#include <gtest/gtest.h>

#include <string>

#include "keystore/crypto/aead.h"
#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"
#include "tests/support/wycheproof.h"
#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

using testing::hex_field;
using testing::Json;
using testing::TestVector;

struct Known {
  ByteVector key;
  ByteVector nonce;
  ByteVector associated;
  ByteVector plain;
  ByteVector sealed;
  ByteVector tag;  ///< may be cut short for `expect_seals`
};

Nonce nonce_of(const Known& known) {
  Nonce nonce{};
  EXPECT_EQ(known.nonce.size(), nonce.size());
  std::copy_n(known.nonce.begin(), std::min(known.nonce.size(), nonce.size()), nonce.begin());
  return nonce;
}

Tag tag_of(const Known& known) {
  Tag tag{};
  EXPECT_EQ(known.tag.size(), tag.size());
  std::copy_n(known.tag.begin(), std::min(known.tag.size(), tag.size()), tag.begin());
  return tag;
}

void expect_seals(const AeadEngine& engine, Suite suite, const Known& known) {
  ByteVector sealed(known.plain.size());
  Tag tag;
  engine.expand(suite, known.key)
      ->seal(nonce_of(known), known.associated, known.plain, sealed, tag);
  EXPECT_EQ(to_hex(sealed), to_hex(known.sealed));
  EXPECT_EQ(to_hex(Bytes(tag).first(known.tag.size())), to_hex(known.tag));
}

void expect_opens(const AeadEngine& engine, Suite suite, const Known& known) {
  ByteVector opened(known.sealed.size(), 0xee);
  EXPECT_TRUE(engine.expand(suite, known.key)
                  ->open(nonce_of(known), known.associated, known.sealed, opened, tag_of(known)));
  EXPECT_EQ(to_hex(opened), to_hex(known.plain));
}

void expect_refuses(const AeadEngine& engine, Suite suite, const Known& known) {
  ByteVector opened(known.sealed.size(), 0xee);
  EXPECT_FALSE(engine.expand(suite, known.key)
                   ->open(nonce_of(known), known.associated, known.sealed, opened, tag_of(known)));
  EXPECT_TRUE(all_zero(opened));
}

/// Every vector of groups with a 256-bit key, 96-bit nonce and 128-bit tag; their number.
std::size_t run_wycheproof(const AeadEngine& engine, Suite suite, const std::string& file) {
  std::size_t valid = 0;
  const std::size_t checked = testing::for_each_wycheproof(
      file,
      [](const Json& group) {
        return group.at("keySize") == 256 && group.at("ivSize") == 96 && group.at("tagSize") == 128;
      },
      [&](const Json& test) {
        const Known known{hex_field(test, "key"), hex_field(test, "iv"), hex_field(test, "aad"),
                          hex_field(test, "msg"), hex_field(test, "ct"), hex_field(test, "tag")};
        if (testing::is_valid(test)) {
          expect_seals(engine, suite, known);
          expect_opens(engine, suite, known);
          ++valid;
        } else {
          expect_refuses(engine, suite, known);
        }
        return true;
      });
  EXPECT_GT(valid, 0U);
  EXPECT_GT(checked, valid);
  return checked;
}

class GcmVectors : public ::testing::TestWithParam<AeadVariant> {
 protected:
  AeadEngine engine_ = *AeadEngine::create(GetParam().choice);
  Suite suite_ = GetParam().suite;
};

// Both engines that have AES-256-GCM.
INSTANTIATE_TEST_SUITE_P(Engines, GcmVectors, ::testing::Values(kAeadVariants[0], kAeadVariants[1]),
                         aead_variant_name);

TEST_P(GcmVectors, Wycheproof) {
  COFFER_NEED_WYCHEPROOF();
  ASSERT_EQ(suite_, Suite::kAes256Gcm);
  EXPECT_GE(run_wycheproof(engine_, suite_, "aes_gcm_test.json"), 66U);
}

TEST_P(GcmVectors, CavpSeal) {
  const auto vectors = testing::read_test_vectors(std::string(testing::kDebianVectors) +
                                                  "ciphers/AES/GCM/gcmEncryptExtIV256.rsp");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  std::size_t checked = 0;
  for (const TestVector& vector : vectors) {
    if (vector.number("IVlen") != 96) continue;
    SCOPED_TRACE(vector.text("Key"));
    expect_seals(engine_, suite_,
                 {vector.bytes("Key"), vector.bytes("IV"), vector.bytes("AAD"), vector.bytes("PT"),
                  vector.bytes("CT"), vector.bytes("Tag")});
    ++checked;
  }
  RecordProperty("vectors", std::to_string(checked));
  EXPECT_EQ(checked, 175U * 15U);
}

TEST_P(GcmVectors, CavpOpen) {
  const auto vectors = testing::read_test_vectors(std::string(testing::kDebianVectors) +
                                                  "ciphers/AES/GCM/gcmDecrypt256.rsp");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  std::size_t good = 0;
  std::size_t refused = 0;
  for (const TestVector& vector : vectors) {
    if (vector.number("IVlen") != 96 || vector.number("Taglen") != 128) continue;
    SCOPED_TRACE(vector.text("Key"));
    const bool fails = vector.has("FAIL");
    const Known known{vector.bytes("Key"), vector.bytes("IV"),
                      vector.bytes("AAD"), fails ? ByteVector() : vector.bytes("PT"),
                      vector.bytes("CT"),  vector.bytes("Tag")};
    if (fails) {
      expect_refuses(engine_, suite_, known);
      ++refused;
    } else {
      expect_opens(engine_, suite_, known);
      ++good;
    }
  }
  RecordProperty("vectors", std::to_string(good + refused));
  EXPECT_EQ(good + refused, 25U * 15U);
  EXPECT_GT(good, 100U);
  EXPECT_GT(refused, 100U);
}

TEST(ChaChaVectors, Wycheproof) {
  COFFER_NEED_WYCHEPROOF();
  const AeadEngine engine = *AeadEngine::create();
  EXPECT_GE(run_wycheproof(engine, Suite::kChaCha20Poly1305, "chacha20_poly1305_test.json"), 316U);
}

TEST(ChaChaVectors, BoringSsl) {
  const AeadEngine engine = *AeadEngine::create();
  const auto vectors = testing::read_test_vectors(std::string(testing::kDebianVectors) +
                                                  "ciphers/ChaCha20Poly1305/boringssl.txt");
  if (vectors.empty()) COFFER_SKIP("install python3-cryptography-vectors");
  for (const TestVector& vector : vectors) {
    SCOPED_TRACE(vector.text("COUNT"));
    const Known known{vector.bytes("KEY"), vector.bytes("NONCE"), vector.bytes("AD"),
                      vector.bytes("IN"),  vector.bytes("CT"),    vector.bytes("TAG")};
    expect_seals(engine, Suite::kChaCha20Poly1305, known);
    expect_opens(engine, Suite::kChaCha20Poly1305, known);
  }
  RecordProperty("vectors", std::to_string(vectors.size()));
  EXPECT_EQ(vectors.size(), 66U);
}

}  // namespace
}  // namespace coffer
