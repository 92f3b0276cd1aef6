#include "keystore/crypto/kdf.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

EVP_KDF* hkdf_algorithm() {
  static EVP_KDF* const algorithm = must_have(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  return algorithm;
}

OSSL_PARAM octets(const char* name, Bytes value) {
  // OpenSSL's parameter type is not const, but derivation only reads them.
  return OSSL_PARAM_construct_octet_string(name, const_cast<std::uint8_t*>(value.data()),
                                           value.size());
}

/// One of HKDF's two steps, with the parameters that only it has.
SecretBytes derive(int mode, Bytes key, OSSL_PARAM parameter, std::size_t length) {
  const KdfContext context(must_have(EVP_KDF_CTX_new(hkdf_algorithm())));
  char digest_name[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest_name, 0),
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      octets(OSSL_KDF_PARAM_KEY, key),
      parameter,
      OSSL_PARAM_construct_end(),
  };
  SecretBytes derived(length);
  must(EVP_KDF_derive(context.get(), derived.expose().data(), length, params));
  return derived;
}

}  // namespace

HkdfSha256::HkdfSha256(Bytes key, Bytes salt) {
  // OpenSSL refuses an absent salt as a null pointer; RFC 5869 makes it 32 zeros.
  static constexpr std::uint8_t kNoSalt[32] = {};
  extracted_ = derive(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, key,
                      octets(OSSL_KDF_PARAM_SALT, salt.empty() ? Bytes(kNoSalt) : salt), 32);
}

SecretBytes HkdfSha256::expand(std::string_view info, std::size_t length) const {
  return derive(EVP_KDF_HKDF_MODE_EXPAND_ONLY, extracted_.expose(),
                octets(OSSL_KDF_PARAM_INFO, as_bytes(info)), length);
}

SecretBytes hkdf_sha256(Bytes key, Bytes salt, std::string_view info, std::size_t length) {
  return HkdfSha256(key, salt).expand(info, length);
}

Result<void> check_cost(const ScryptCost& cost) {
  if (cost.log2_n < 10 || cost.log2_n > 20 || cost.r < 1 || cost.r > 16 || cost.p < 1 ||
      cost.p > 4 || cost.log2_n >= 16 * cost.r) {
    return Error{Code::kInvalid, 0, "scrypt cost out of bounds"};
  }
  return {};
}

Result<SecretBytes> scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost) {
  TRY(check_cost(cost));
  const std::uint64_t n = std::uint64_t{1} << cost.log2_n;
  const std::uint64_t memory = 128ULL * cost.r * (n + cost.p + 2) + (1U << 20);
  SecretBytes key(32);
  if (EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
                     salt.data(), salt.size(), n, cost.r, cost.p, memory, key.expose().data(),
                     key.size()) != 1) {
    return Error{Code::kExhausted, 0, "scrypt failed: too little memory"};
  }
  return key;
}

}  // namespace coffer
