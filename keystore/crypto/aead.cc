#include "keystore/crypto/aead.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <string>

#include "keystore/crypto/aead_ipsec.h"
#include "keystore/crypto/aead_openssl.h"
#include "keystore/crypto/random.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {
namespace {

/// Test case 16 of the GCM specification (McGrew and Viega): AES-256, 60 bytes, AAD.
bool known_answer_holds(const AeadKey& key) {
  static constexpr std::string_view kPlain =
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b525"
      "b16aedf5aa0de657ba637b39";
  static constexpr std::string_view kCipher =
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b105682"
      "8838"
      "c5f61e6393ba7a0abcc9f662";
  const ByteVector plain = *from_hex(kPlain);
  const ByteVector expected = *from_hex(kCipher);
  const ByteVector associated = *from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const ByteVector nonce_bytes = *from_hex("cafebabefacedbaddecaf888");
  const ByteVector tag_bytes = *from_hex("76fc6ece0f4e1768cddf8853bb2d551b");
  Nonce nonce;
  std::copy(nonce_bytes.begin(), nonce_bytes.end(), nonce.begin());
  ByteVector cipher(plain.size());
  Tag tag;
  key.seal(nonce, associated, plain, cipher, tag);
  if (!equal(cipher, expected) || !equal(tag, tag_bytes)) return false;
  ByteVector opened(cipher.size());
  if (!key.open(nonce, associated, cipher, opened, tag) || !equal(opened, plain)) return false;
  tag[15] ^= 1;
  return !key.open(nonce, associated, cipher, opened, tag) && all_zero(opened);
}

constexpr std::string_view kKnownAnswerKey =
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";

/// What one seals the other opens, on lengths around the block counts that vector code works in.
bool agree(const AeadKey& a, const AeadKey& b) {
  static constexpr std::size_t kLengths[] = {0,   1,   15,  16,  17,   127,  128,  129,
                                             255, 256, 257, 768, 4095, 4096, 65536};
  for (const std::size_t length : kLengths) {
    ByteVector plain(length);
    random_bytes(plain);
    Nonce nonce;
    random_bytes(nonce);
    ByteVector associated(28);
    random_bytes(associated);
    ByteVector cipher(length);
    ByteVector opened(length);
    Tag tag;
    a.seal(nonce, associated, plain, cipher, tag);
    if (!b.open(nonce, associated, cipher, opened, tag) || !equal(opened, plain)) return false;
    b.seal(nonce, associated, plain, cipher, tag);
    if (!a.open(nonce, associated, cipher, opened, tag) || !equal(opened, plain)) return false;
  }
  return true;
}

}  // namespace

std::string_view to_string(Suite suite) {
  return suite == Suite::kAes256Gcm ? "aes-256-gcm" : "chacha20-poly1305";
}

Result<Suite> suite_from_name(std::string_view name) {
  for (const Suite suite : {Suite::kAes256Gcm, Suite::kChaCha20Poly1305}) {
    if (name == to_string(suite)) return suite;
  }
  return Error{
      Code::kInvalid, 0,
      "no such suite: " + std::string(name) + " (there are aes-256-gcm and chacha20-poly1305)"};
}

Result<Suite> suite_from_number(std::uint16_t number) {
  if (number != 1 && number != 2) return Error{Code::kInvalid, 0, "unknown cipher suite"};
  return static_cast<Suite>(number);
}

struct AeadEngine::State {
  std::unique_ptr<IpsecGcm> ipsec;
  std::string name;
};

AeadEngine::AeadEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
AeadEngine::~AeadEngine() = default;
AeadEngine::AeadEngine(AeadEngine&&) noexcept = default;
AeadEngine& AeadEngine::operator=(AeadEngine&&) noexcept = default;

Result<AeadEngine> AeadEngine::create(Choice choice) {
  const ByteVector key = *from_hex(kKnownAnswerKey);
  const auto reference = expand_openssl(Suite::kAes256Gcm, key);
  if (!known_answer_holds(*reference)) {
    return Error{Code::kUnsupported, 0, "OpenSSL's AES-256-GCM fails its known-answer test"};
  }
  auto state = std::make_unique<State>();
  if (choice == Choice::kFastest) state->ipsec = IpsecGcm::detect();
  if (state->ipsec != nullptr) {
    const auto candidate = state->ipsec->expand(key);
    if (!known_answer_holds(*candidate) || !agree(*candidate, *reference)) state->ipsec.reset();
  }
  state->name = state->ipsec != nullptr
                    ? state->ipsec->name()
                    : std::string("openssl ") + OpenSSL_version(OPENSSL_VERSION_STRING);
  return AeadEngine(std::move(state));
}

std::unique_ptr<const AeadKey> AeadEngine::expand(Suite suite, Bytes key) const {
  if (suite == Suite::kAes256Gcm && state_->ipsec != nullptr) return state_->ipsec->expand(key);
  return expand_openssl(suite, key);
}

std::string_view AeadEngine::name() const { return state_->name; }

}  // namespace coffer
