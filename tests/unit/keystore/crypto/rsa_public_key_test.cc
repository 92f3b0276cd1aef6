#include "keystore/crypto/rsa_public_key.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <string>
#include <vector>

#include "keystore/crypto/ossl.h"
#include "tests/support/wycheproof.h"

namespace coffer {
namespace {

using testing::Json;
using PKey = OsslPtr<EVP_PKEY, EVP_PKEY_free>;
using PKeyContext = OsslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

ByteVector number_of(const PKey& key, const char* name) {
  BIGNUM* number = nullptr;
  must(::EVP_PKEY_get_bn_param(key.get(), name, &number));
  ByteVector bytes(static_cast<std::size_t>(BN_num_bytes(number)));
  ::BN_bn2bin(number, bytes.data());
  ::BN_free(number);
  return bytes;
}

PKey make_key(unsigned bits) { return PKey(must_have(EVP_RSA_gen(bits))); }

RsaPublicKey public_half(const PKey& key) {
  return *RsaPublicKey::of(number_of(key, OSSL_PKEY_PARAM_RSA_N),
                           number_of(key, OSSL_PKEY_PARAM_RSA_E));
}

/// What `sealed` holds by OAEP with `digest`; nothing if it is not sealed so.
ByteVector opened(const PKey& key, Bytes sealed, const EVP_MD* digest = ::EVP_sha256()) {
  const PKeyContext context(::EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  must(::EVP_PKEY_decrypt_init(context.get()));
  must(::EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING));
  must(::EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), digest));
  must(::EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), digest));
  ByteVector out(sealed.size());
  std::size_t length = out.size();
  if (::EVP_PKEY_decrypt(context.get(), out.data(), &length, sealed.data(), sealed.size()) != 1)
    return {};
  out.resize(length);
  return out;
}

ByteVector signed_by(const PKey& key, Bytes message, int salt = 32, int padding = 6) {
  const DigestContext context(::EVP_MD_CTX_new());
  EVP_PKEY_CTX* settings = nullptr;
  must(::EVP_DigestSignInit(context.get(), &settings, ::EVP_sha256(), nullptr, key.get()));
  must(::EVP_PKEY_CTX_set_rsa_padding(settings, padding));
  if (padding == RSA_PKCS1_PSS_PADDING) must(::EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, salt));
  ByteVector signature(1024);
  std::size_t length = signature.size();
  must(::EVP_DigestSign(context.get(), signature.data(), &length, message.data(), message.size()));
  signature.resize(length);
  return signature;
}

TEST(RsaPublicKey, SealsForThePrivateHalf) {
  for (const unsigned bits : {2048U, 3072U, 4096U}) {
    const PKey key = make_key(bits);
    const RsaPublicKey half = public_half(key);
    EXPECT_EQ(half.size(), bits / 8);
    for (const std::size_t size : {std::size_t{1}, std::size_t{32}, half.size() - 66}) {
      const SecretBytes secret = SecretBytes::random(size);
      const ByteVector sealed = half.seal(secret);
      EXPECT_EQ(sealed.size(), half.size());
      EXPECT_TRUE(equal(opened(key, sealed), secret.expose())) << size;
      EXPECT_NE(half.seal(secret), sealed);
      EXPECT_TRUE(opened(key, sealed, ::EVP_sha1()).empty()) << "SHA-256 alone";
    }
  }
}

TEST(RsaPublicKey, KnowsItsSignatures) {
  const PKey key = make_key(2048);
  const RsaPublicKey half = public_half(key);
  const Bytes message = as_bytes("message");
  ByteVector signature = signed_by(key, message);
  EXPECT_TRUE(half.has_signed(message, signature));
  EXPECT_FALSE(half.has_signed(as_bytes("massage"), signature));
  EXPECT_FALSE(public_half(make_key(2048)).has_signed(message, signature));
  EXPECT_FALSE(half.has_signed(message, Bytes(signature).first(255)));
  EXPECT_FALSE(half.has_signed(message, {}));
  EXPECT_FALSE(half.has_signed(message, signed_by(key, message, 20))) << "another salt's length";
  EXPECT_FALSE(half.has_signed(message, signed_by(key, message, 0, RSA_PKCS1_PADDING)));
  for (std::size_t bit = 0; bit < signature.size() * 8; bit += 13) {
    signature[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    EXPECT_FALSE(half.has_signed(message, signature)) << bit;
    signature[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  EXPECT_TRUE(half.has_signed(message, signature));
}

TEST(RsaPublicKey, NumbersThatAreNone) {
  const PKey key = make_key(2048);
  const ByteVector n = number_of(key, OSSL_PKEY_PARAM_RSA_N);
  const ByteVector e = {1, 0, 1};
  EXPECT_TRUE(RsaPublicKey::of(n, e).has_value());
  for (const ByteVector& odd :
       {ByteVector(), ByteVector{0}, ByteVector{1}, ByteVector{2}, ByteVector{1, 0, 0},
        ByteVector{0, 1, 0, 1}, ByteVector{1, 0, 0, 0, 1}})
    EXPECT_FALSE(RsaPublicKey::of(n, odd).has_value());
  ByteVector padded = n;
  padded.insert(padded.begin(), 0);
  EXPECT_FALSE(RsaPublicKey::of(padded, e).has_value());
  ByteVector small = n;
  small[0] = 0x7f;
  EXPECT_FALSE(RsaPublicKey::of(small, e).has_value());
  ByteVector even = n;
  even.back() = 0;
  EXPECT_FALSE(RsaPublicKey::of(even, e).has_value());
  EXPECT_FALSE(RsaPublicKey::of(Bytes(n).first(128), e).has_value()) << "1024 bits";
  EXPECT_FALSE(RsaPublicKey::of({}, e).has_value());
}

/// The signature of a JSON Web Signature (RFC 7515) that names PS256, by `half`.
bool is_signed(const RsaPublicKey& half, const std::string& jws) {
  const std::size_t first = jws.find('.');
  const std::size_t second = first == std::string::npos ? first : jws.find('.', first + 1);
  if (second == std::string::npos) return false;
  const auto header = from_base64url(jws.substr(0, first));
  const auto signature = from_base64url(jws.substr(second + 1));
  if (!header || !signature) return false;
  const Json said = Json::parse(as_text(*header), nullptr, false);
  return said.is_object() && said.value("alg", "") == "PS256" &&
         half.has_signed(as_bytes(jws.substr(0, second)), *signature);
}

TEST(RsaPublicKey, SignaturesOfWycheproof) {
  COFFER_NEED_WYCHEPROOF();
  std::optional<RsaPublicKey> half;
  const auto of_group = [&half](const Json& group) {
    if (group.at("comment") != "ps256") return false;
    const Json& key = group.at("public");
    half = RsaPublicKey::of(*from_base64url(key.at("n").get<std::string>()),
                            *from_base64url(key.at("e").get<std::string>()));
    return half.has_value();
  };
  const auto check = [&half](const Json& test) {
    EXPECT_EQ(is_signed(*half, test.at("jws").get<std::string>()), testing::is_valid(test));
    return true;
  };
  EXPECT_EQ(testing::for_each_wycheproof("json_web_signature_test.json", of_group, check), 48U);
}

}  // namespace
}  // namespace coffer
