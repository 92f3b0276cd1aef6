#include "keystore/crypto/hpke.h"

#include <openssl/evp.h>

#include <algorithm>
#include <string>

#include "keystore/crypto/aead_openssl.h"
#include "keystore/crypto/digest.h"
#include "keystore/crypto/kdf.h"
#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using PKey = OsslPtr<EVP_PKEY, EVP_PKEY_free>;
using PKeyContext = OsslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

constexpr std::size_t kKeySize = 32;
// RFC 9180, 4.1 and 5.1: "KEM" ‖ kem id; "HPKE" ‖ kem id ‖ kdf id ‖ aead id.
constexpr std::string_view kKemSuite("KEM\x00\x20", 5);
constexpr std::string_view kHpkeSuite("HPKE\x00\x20\x00\x01\x00\x02", 10);
constexpr std::string_view kHpkeVersion = "HPKE-v1";

PKey private_pkey(const SecretBytes& key) {
  return PKey(must_have(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, key.expose().data(), key.size())));
}

HpkePublicKey public_of(const PKey& key) {
  HpkePublicKey out{};
  std::size_t length = out.size();
  must(EVP_PKEY_get_raw_public_key(key.get(), out.data(), &length));
  return out;
}

/// kInvalid if the other's key is of small order: then the result is the same for all.
Result<SecretBytes> agree(const PKey& ours, Bytes theirs) {
  const PKey peer(must_have(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, theirs.data(), theirs.size())));
  const PKeyContext context(must_have(EVP_PKEY_CTX_new(ours.get(), nullptr)));
  must(EVP_PKEY_derive_init(context.get()));
  SecretBytes shared(kKeySize);
  std::size_t length = shared.size();
  if (EVP_PKEY_derive_set_peer(context.get(), peer.get()) != 1 ||
      EVP_PKEY_derive(context.get(), shared.expose().data(), &length) != 1 || length != kKeySize)
    return Error{Code::kInvalid, 0, "not a public key that can be sealed to"};
  return shared;
}

/// What a labeled extraction takes in (RFC 9180, 4).
SecretBytes labeled(std::string_view suite, std::string_view label, Bytes ikm) {
  SecretBytes out(kHpkeVersion.size() + suite.size() + label.size() + ikm.size());
  auto at = out.expose().begin();
  for (const Bytes part : {as_bytes(kHpkeVersion), as_bytes(suite), as_bytes(label), ikm})
    at = std::copy(part.begin(), part.end(), at);
  return out;
}

std::string expand_info(std::string_view suite, std::string_view label, Bytes info,
                        std::uint8_t length) {
  std::string out = {'\0', static_cast<char>(length)};
  out.append(kHpkeVersion).append(suite).append(label).append(as_text(info));
  return out;
}

SecretBytes shared_secret(const SecretBytes& dh, Bytes enc, Bytes recipient) {
  const ByteVector context = ByteWriter().bytes(enc).bytes(recipient).take();
  return HkdfSha256(labeled(kKemSuite, "eae_prk", dh.expose()).expose(), {})
      .expand(expand_info(kKemSuite, "shared_secret", context, kKeySize), kKeySize);
}

struct KeyAndNonce {
  SecretBytes key;
  Nonce nonce{};
};

/// RFC 9180, 5.1, in base mode; the nonce of the first message is the base nonce.
KeyAndNonce schedule(const SecretBytes& shared, std::string_view info) {
  const HmacKey no_salt{Bytes()};
  const Digest psk_id_hash = no_salt.mac(labeled(kHpkeSuite, "psk_id_hash", {}).expose());
  const Digest info_hash = no_salt.mac(labeled(kHpkeSuite, "info_hash", as_bytes(info)).expose());
  const ByteVector context =
      ByteWriter().le(std::uint8_t{0}).bytes(psk_id_hash).bytes(info_hash).take();
  const HkdfSha256 secret(labeled(kHpkeSuite, "secret", {}).expose(), shared.expose());
  KeyAndNonce out;
  out.key = secret.expand(expand_info(kHpkeSuite, "key", context, kKeySize), kKeySize);
  const SecretBytes nonce =
      secret.expand(expand_info(kHpkeSuite, "base_nonce", context, sizeof(Nonce)), sizeof(Nonce));
  std::copy_n(nonce.expose().begin(), out.nonce.size(), out.nonce.begin());
  return out;
}

}  // namespace

HpkePublicKey hpke_public_key(const SecretBytes& private_key) {
  return public_of(private_pkey(private_key));
}

Result<ByteVector> hpke_seal(const HpkePublicKey& recipient, std::string_view info,
                             Bytes associated, Bytes plain) {
  return hpke_seal_with(SecretBytes::random(kKeySize), recipient, info, associated, plain);
}

Result<ByteVector> hpke_seal_with(const SecretBytes& ephemeral, const HpkePublicKey& recipient,
                                  std::string_view info, Bytes associated, Bytes plain) {
  const PKey ours = private_pkey(ephemeral);
  const HpkePublicKey enc = public_of(ours);
  const SecretBytes dh = TRY(agree(ours, recipient));
  const KeyAndNonce keys = schedule(shared_secret(dh, enc, recipient), info);
  ByteVector sealed(enc.begin(), enc.end());
  sealed.resize(plain.size() + kHpkeOverhead);
  Tag tag;
  expand_openssl(Suite::kAes256Gcm, keys.key.expose())
      ->seal(keys.nonce, associated, plain, MutableBytes(sealed).subspan(kKeySize, plain.size()),
             tag);
  std::copy(tag.begin(), tag.end(), sealed.end() - static_cast<std::ptrdiff_t>(tag.size()));
  return sealed;
}

Result<SecretBytes> hpke_open(const SecretBytes& private_key, std::string_view info,
                              Bytes associated, Bytes sealed) {
  const Error corrupt{Code::kCorrupt, 0, "what was sealed to a public key does not open"};
  if (sealed.size() < kHpkeOverhead) return corrupt;
  const PKey ours = private_pkey(private_key);
  const Bytes enc = sealed.first(kKeySize);
  const auto dh = agree(ours, enc);
  if (!dh) return corrupt;
  const KeyAndNonce keys = schedule(shared_secret(*dh, enc, public_of(ours)), info);
  Tag tag;
  std::copy_n(sealed.end() - static_cast<std::ptrdiff_t>(tag.size()), tag.size(), tag.begin());
  SecretBytes plain(sealed.size() - kHpkeOverhead);
  if (!expand_openssl(Suite::kAes256Gcm, keys.key.expose())
           ->open(keys.nonce, associated, sealed.subspan(kKeySize, plain.size()), plain.expose(),
                  tag))
    return corrupt;
  return plain;
}

}  // namespace coffer
