#include "keystore/crypto/rsa_public_key.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

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

}  // namespace
}  // namespace coffer
