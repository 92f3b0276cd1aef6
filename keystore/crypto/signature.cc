#include "keystore/crypto/signature.h"

#include <openssl/evp.h>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using PKey = OsslPtr<EVP_PKEY, EVP_PKEY_free>;

PKey private_key(const SecretBytes& seed) {
  return PKey(must_have(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.expose().data(), seed.size())));
}

}  // namespace

Ed25519Key::Ed25519Key(SecretBytes seed) : seed_(std::move(seed)) {
  std::size_t length = public_key_.size();
  must(EVP_PKEY_get_raw_public_key(private_key(seed_).get(), public_key_.data(), &length));
}

Ed25519Signature Ed25519Key::sign(Bytes message) const {
  const PKey key = private_key(seed_);
  const DigestContext context(must_have(EVP_MD_CTX_new()));
  must(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()));
  Ed25519Signature signature{};
  std::size_t length = signature.size();
  must(EVP_DigestSign(context.get(), signature.data(), &length, message.data(), message.size()));
  return signature;
}

bool ed25519_verify(const Ed25519PublicKey& key, Bytes message, Bytes signature) {
  const PKey public_key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  if (public_key == nullptr) return false;
  const DigestContext context(must_have(EVP_MD_CTX_new()));
  must(EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, public_key.get()));
  return EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                          message.size()) == 1;
}

}  // namespace coffer
