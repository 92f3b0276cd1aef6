#include "keystore/crypto/p256_public_key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <string>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using PKeyContext = OsslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using Signature = OsslPtr<ECDSA_SIG, ECDSA_SIG_free>;

constexpr std::size_t kCoordinate = 32;
constexpr std::uint8_t kUncompressed = 4;

/// ECDSA-Sig-Value (RFC 3279, 2.2.3), as OpenSSL takes it.
ByteVector der_of(Bytes signature) {
  const Signature parts(must_have(::ECDSA_SIG_new()));
  BIGNUM* const r = must_have(::BN_bin2bn(signature.data(), kCoordinate, nullptr));
  BIGNUM* const s = must_have(::BN_bin2bn(signature.data() + kCoordinate, kCoordinate, nullptr));
  must(::ECDSA_SIG_set0(parts.get(), r, s));
  ByteVector der(static_cast<std::size_t>(::i2d_ECDSA_SIG(parts.get(), nullptr)));
  std::uint8_t* at = der.data();
  (void)::i2d_ECDSA_SIG(parts.get(), &at);
  return der;
}

}  // namespace

std::optional<P256PublicKey> P256PublicKey::of(Bytes x, Bytes y) {
  if (x.size() != kCoordinate || y.size() != kCoordinate) return std::nullopt;
  ByteVector point = ByteWriter().le(kUncompressed).bytes(x).bytes(y).take();
  std::string curve = "P-256";
  std::array parameters = {
      ::OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve.data(), 0),
      ::OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()),
      ::OSSL_PARAM_construct_end()};
  const PKeyContext context(must_have(::EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr)));
  must(::EVP_PKEY_fromdata_init(context.get()));
  EVP_PKEY* key = nullptr;
  if (::EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.data()) != 1) {
    ::ERR_clear_error();
    return std::nullopt;
  }
  return P256PublicKey(std::shared_ptr<EVP_PKEY>(key, ::EVP_PKEY_free));
}

bool P256PublicKey::has_signed(Bytes message, Bytes signature) const {
  if (signature.size() != kEs256SignatureSize) return false;
  const ByteVector der = der_of(signature);
  const DigestContext context(must_have(::EVP_MD_CTX_new()));
  must(::EVP_DigestVerifyInit(context.get(), nullptr, ::EVP_sha256(), nullptr, key_.get()));
  const bool good = ::EVP_DigestVerify(context.get(), der.data(), der.size(), message.data(),
                                       message.size()) == 1;
  ::ERR_clear_error();
  return good;
}

}  // namespace coffer
