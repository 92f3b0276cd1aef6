#include "keystore/crypto/rsa_signature.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <optional>

#include "keystore/crypto/ossl.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {
namespace {

using PKey = OsslPtr<EVP_PKEY, EVP_PKEY_free>;
using PKeyContext = OsslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

constexpr std::uint8_t kInteger = 0x02;
constexpr std::uint8_t kOctetString = 0x04;
constexpr std::uint8_t kSequence = 0x30;
/// rsaEncryption (1.2.840.113549.1.1.1) with its NULL: an AlgorithmIdentifier's contents.
constexpr std::array<std::uint8_t, 13> kRsaEncryption = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                                         0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
constexpr std::size_t kLeastModulus = 2048 / 8;
constexpr std::size_t kMostModulus = 8192 / 8;

/// Takes the element that `der` begins with, which has to be of this type, and gives its contents.
/// OpenSSL's own decoders leave copies behind.
std::optional<Bytes> take(Bytes& der, std::uint8_t type) {
  if (der.size() < 2 || der[0] != type) return std::nullopt;
  std::size_t length = der[1];
  std::size_t header = 2;
  if (length >= 0x80) {
    const std::size_t count = length - 0x80;
    if (count < 1 || count > 2 || der.size() < 2 + count) return std::nullopt;
    length = 0;
    for (std::size_t i = 0; i < count; ++i) length = length << 8U | der[2 + i];
    header += count;
  }
  if (der.size() - header < length) return std::nullopt;
  const Bytes contents = der.subspan(header, length);
  der = der.subspan(header + length);
  return contents;
}

/// A positive integer, least byte first as OpenSSL's parameters are on this machine.
std::optional<SecretBytes> take_number(Bytes& der) {
  auto number = take(der, kInteger);
  if (!number || number->empty() || ((*number)[0] & 0x80U) != 0) return std::nullopt;
  if ((*number)[0] == 0) number = number->subspan(1);
  if (number->empty() || number->size() > kMostModulus) return std::nullopt;
  SecretBytes out(number->size());
  std::reverse_copy(number->begin(), number->end(), out.expose().begin());
  return out;
}

/// The contents of the RSAPrivateKey (RFC 8017, A.1.2) after its version.
std::optional<Bytes> rsa_numbers(Bytes pkcs8) {
  const auto is_zero = [](const std::optional<Bytes>& number) {
    return number && number->size() == 1 && (*number)[0] == 0;
  };
  auto info = take(pkcs8, kSequence);
  if (!info || !pkcs8.empty() || !is_zero(take(*info, kInteger))) return std::nullopt;
  const auto algorithm = take(*info, kSequence);
  if (!algorithm || !equal(*algorithm, kRsaEncryption)) return std::nullopt;
  auto text = take(*info, kOctetString);
  if (!text) return std::nullopt;
  auto key = take(*text, kSequence);
  if (!key || !text->empty() || !is_zero(take(*key, kInteger))) return std::nullopt;
  return key;
}

PKey key_of(Bytes pkcs8) {
  constexpr std::array kNames = {OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
                                 OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                 OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                 OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
  auto numbers = rsa_numbers(pkcs8);
  if (!numbers) return nullptr;
  std::array<SecretBytes, kNames.size()> values;
  std::array<OSSL_PARAM, kNames.size() + 1> parameters{};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    auto value = take_number(*numbers);
    if (!value) return nullptr;
    values[i] = *std::move(value);
    const MutableBytes bytes = values[i].expose();
    parameters[i] = ::OSSL_PARAM_construct_BN(kNames[i], bytes.data(), bytes.size());
  }
  parameters.back() = ::OSSL_PARAM_construct_end();
  if (!numbers->empty() || values[0].size() < kLeastModulus) return nullptr;
  const PKeyContext context(must_have(::EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)));
  must(::EVP_PKEY_fromdata_init(context.get()));
  EVP_PKEY* key = nullptr;
  if (::EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters.data()) != 1)
    return nullptr;
  return PKey(key);
}

}  // namespace

Result<ByteVector> rs256_sign(Bytes pkcs8, Bytes message) {
  const auto refused = [] {
    ::ERR_clear_error();
    return Error{Code::kInvalid, 0, "no RSA private key that can sign"};
  };
  const PKey key = key_of(pkcs8);
  if (key == nullptr) return refused();
  const DigestContext context(must_have(::EVP_MD_CTX_new()));
  ByteVector signature(kMostModulus);
  std::size_t length = signature.size();
  if (::EVP_DigestSignInit(context.get(), nullptr, ::EVP_sha256(), nullptr, key.get()) != 1 ||
      ::EVP_DigestSign(context.get(), signature.data(), &length, message.data(), message.size()) !=
          1)
    return refused();
  signature.resize(length);
  return signature;
}

}  // namespace coffer
