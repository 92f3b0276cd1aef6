#include "keystore/crypto/rsa_public_key.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using PKeyContext = OsslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

constexpr std::size_t kMostExponent = 4;

/// Least byte first, as OpenSSL's parameters are on this machine.
ByteVector number(Bytes text) { return {text.rbegin(), text.rend()}; }

bool is_size(std::size_t size) { return size == 256 || size == 384 || size == 512; }

}  // namespace

std::optional<RsaPublicKey> RsaPublicKey::of(Bytes modulus, Bytes exponent) {
  const bool can_be = is_size(modulus.size()) && (modulus.front() & 0x80U) != 0 &&
                      (modulus.back() & 1U) != 0 && !exponent.empty() &&
                      exponent.size() <= kMostExponent && exponent.front() != 0 &&
                      (exponent.back() & 1U) != 0 && !(exponent.size() == 1 && exponent[0] == 1);
  if (!can_be) return std::nullopt;
  ByteVector n = number(modulus);
  ByteVector e = number(exponent);
  std::array parameters = {::OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n.data(), n.size()),
                           ::OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e.data(), e.size()),
                           ::OSSL_PARAM_construct_end()};
  const PKeyContext context(must_have(::EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)));
  must(::EVP_PKEY_fromdata_init(context.get()));
  EVP_PKEY* key = nullptr;
  if (::EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.data()) != 1) {
    ::ERR_clear_error();
    return std::nullopt;
  }
  return RsaPublicKey(std::shared_ptr<EVP_PKEY>(key, ::EVP_PKEY_free), modulus.size());
}

ByteVector RsaPublicKey::seal(const SecretBytes& secret) const {
  const PKeyContext context(must_have(::EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr)));
  must(::EVP_PKEY_encrypt_init(context.get()));
  must(::EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING));
  must(::EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), ::EVP_sha256()));
  must(::EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), ::EVP_sha256()));
  ByteVector sealed(size_);
  std::size_t length = sealed.size();
  must(::EVP_PKEY_encrypt(context.get(), sealed.data(), &length, secret.expose().data(),
                          secret.size()));
  sealed.resize(length);
  return sealed;
}

}  // namespace coffer
