#include "keystore/crypto/digest.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = must_have(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  return algorithm;
}

EVP_MAC* hmac_algorithm() {
  static EVP_MAC* const algorithm = must_have(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  return algorithm;
}

/// Without a key yet. Looking up the digest by its name costs more than a short MAC.
MacContext hmac_sha256() {
  MacContext context(must_have(EVP_MAC_CTX_new(hmac_algorithm())));
  char digest_name[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
      OSSL_PARAM_construct_end(),
  };
  must(EVP_MAC_CTX_set_params(context.get(), params));
  return context;
}

MacContext keyed_context(Bytes key) {
  static const MacContext unkeyed = hmac_sha256();
  MacContext context(must_have(EVP_MAC_CTX_dup(unkeyed.get())));
  must(EVP_MAC_init(context.get(), key.data(), key.size(), nullptr));
  return context;
}

Digest finish_mac(EVP_MAC_CTX* context) {
  Digest digest;
  std::size_t length = 0;
  must(EVP_MAC_final(context, digest.data(), &length, digest.size()));
  return digest;
}

}  // namespace

Digest sha256(Bytes data) {
  Digest digest;
  must(EVP_Digest(data.data(), data.size(), digest.data(), nullptr, sha256_algorithm(), nullptr));
  return digest;
}

struct Sha256Stream::State {
  DigestContext context;
};

Sha256Stream::Sha256Stream()
    : state_(std::make_unique<State>(State{DigestContext(must_have(EVP_MD_CTX_new()))})) {
  must(EVP_DigestInit_ex2(state_->context.get(), sha256_algorithm(), nullptr));
}
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::add(Bytes data) {
  must(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()));
}

Digest Sha256Stream::finish() {
  Digest digest;
  must(EVP_DigestFinal_ex(state_->context.get(), digest.data(), nullptr));
  return digest;
}

struct HmacKey::State {
  MacContext keyed;
};

HmacKey::HmacKey(Bytes key) : state_(std::make_unique<State>(State{keyed_context(key)})) {}
HmacKey::~HmacKey() = default;
HmacKey::HmacKey(HmacKey&&) noexcept = default;
HmacKey& HmacKey::operator=(HmacKey&&) noexcept = default;

Digest HmacKey::mac(Bytes data) const { return mac({data}); }

Digest HmacKey::mac(std::initializer_list<Bytes> pieces) const {
  const MacContext context(must_have(EVP_MAC_CTX_dup(state_->keyed.get())));
  for (const Bytes piece : pieces) {
    must(EVP_MAC_update(context.get(), piece.data(), piece.size()));
  }
  return finish_mac(context.get());
}

bool HmacKey::verify(Bytes data, Bytes expected) const {
  if (expected.size() < 16 || expected.size() > sizeof(Digest)) return false;
  const Digest actual = mac(data);
  return constant_time_equal(Bytes(actual).first(expected.size()), expected);
}

struct HmacStream::State {
  MacContext context;
};

HmacStream::HmacStream(Bytes key) : state_(std::make_unique<State>(State{keyed_context(key)})) {}
HmacStream::~HmacStream() = default;

void HmacStream::add(Bytes data) {
  must(EVP_MAC_update(state_->context.get(), data.data(), data.size()));
}

Digest HmacStream::finish() { return finish_mac(state_->context.get()); }

}  // namespace coffer
