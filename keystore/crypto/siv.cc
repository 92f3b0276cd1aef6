#include "keystore/crypto/siv.h"

#include "keystore/crypto/ossl.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {
namespace {

const EVP_CIPHER* siv_algorithm() {
  static const EVP_CIPHER* const algorithm =
      must_have(EVP_CIPHER_fetch(nullptr, "AES-256-SIV", nullptr));
  return algorithm;
}

CipherContext keyed_context(Bytes key, int encrypt) {
  CipherContext context(must_have(EVP_CIPHER_CTX_new()));
  must(EVP_CipherInit_ex2(context.get(), siv_algorithm(), key.data(), nullptr, encrypt, nullptr));
  return context;
}

CipherContext fresh_copy(const EVP_CIPHER_CTX* keyed) {
  CipherContext copy(must_have(EVP_CIPHER_CTX_new()));
  must(EVP_CIPHER_CTX_copy(copy.get(), keyed));
  return copy;
}

void add_associated(EVP_CIPHER_CTX* context, std::initializer_list<Bytes> associated) {
  int length = 0;
  for (const Bytes piece : associated) {
    // An empty string counts too, but OpenSSL takes a null pointer for the end of the message.
    static constexpr std::uint8_t kNothing = 0;
    must(EVP_CipherUpdate(context, nullptr, &length, piece.empty() ? &kNothing : piece.data(),
                          static_cast<int>(piece.size())));
  }
}

}  // namespace

struct Siv::State {
  CipherContext sealing;
  CipherContext opening;
};

Siv::Siv(Bytes key)
    : state_(std::make_unique<State>(State{keyed_context(key, 1), keyed_context(key, 0)})) {}
Siv::~Siv() = default;
Siv::Siv(Siv&&) noexcept = default;
Siv& Siv::operator=(Siv&&) noexcept = default;

ByteVector Siv::seal(std::initializer_list<Bytes> associated, Bytes plain) const {
  const CipherContext context = fresh_copy(state_->sealing.get());
  add_associated(context.get(), associated);
  ByteVector sealed(kOverhead + plain.size());
  int length = 0;
  must(EVP_CipherUpdate(context.get(), sealed.data() + kOverhead, &length, plain.data(),
                        static_cast<int>(plain.size())));
  must(EVP_CipherFinal_ex(context.get(), sealed.data() + kOverhead, &length));
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kOverhead, sealed.data()));
  return sealed;
}

Result<ByteVector> Siv::open(std::initializer_list<Bytes> associated, Bytes sealed) const {
  const Error forged{Code::kCorrupt, 0, "does not authenticate"};
  if (sealed.size() <= kOverhead) return forged;
  const CipherContext context = fresh_copy(state_->opening.get());
  ByteVector tag(sealed.begin(), sealed.begin() + kOverhead);
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kOverhead, tag.data()));
  add_associated(context.get(), associated);
  const Bytes body = sealed.subspan(kOverhead);
  ByteVector plain(body.size());
  int length = 0;
  if (EVP_CipherUpdate(context.get(), plain.data(), &length, body.data(),
                       static_cast<int>(body.size())) != 1 ||
      EVP_CipherFinal_ex(context.get(), plain.data(), &length) != 1) {
    wipe(plain);
    return forged;
  }
  return plain;
}

}  // namespace coffer
