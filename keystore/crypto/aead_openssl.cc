#include "keystore/crypto/aead_openssl.h"

#include <utility>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/crypto/ossl.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {
namespace {

const EVP_CIPHER* algorithm(Suite suite) {
  static const EVP_CIPHER* const gcm = must_have(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr));
  static const EVP_CIPHER* const chacha =
      must_have(EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr));
  return suite == Suite::kAes256Gcm ? gcm : chacha;
}

/// A context that has the key costs far more to make than a chunk costs to open, and can serve one
/// call at a time: idle ones are kept, as many as calls ever ran at once. OpenSSL wipes them when
/// they are freed.
class OpenSslKey final : public AeadKey {
 public:
  OpenSslKey(Suite suite, Bytes key) : suite_(suite), key_(SecretBytes::copy_of(key)) {}

  void seal(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
            Tag& tag) const override {
    CipherContext context = take_context();
    run(context.get(), nonce, associated, in, out, 1);
    int length = 0;
    must(EVP_CipherFinal_ex(context.get(), nullptr, &length));
    must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()),
                             tag.data()));
    give_back(std::move(context));
  }

  bool open(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
            const Tag& tag) const override {
    CipherContext context = take_context();
    run(context.get(), nonce, associated, in, out, 0);
    Tag expected = tag;
    must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG,
                             static_cast<int>(expected.size()), expected.data()));
    int length = 0;
    const bool authentic = EVP_CipherFinal_ex(context.get(), nullptr, &length) == 1;
    if (!authentic) wipe(out);
    give_back(std::move(context));
    return authentic;
  }

 private:
  static void run(EVP_CIPHER_CTX* context, const Nonce& nonce, Bytes associated, Bytes in,
                  MutableBytes out, int encrypt) {
    int length = 0;
    must(EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), encrypt, nullptr));
    must(EVP_CipherUpdate(context, nullptr, &length, associated.data(),
                          static_cast<int>(associated.size())));
    if (in.empty()) return;
    must(EVP_CipherUpdate(context, out.data(), &length, in.data(), static_cast<int>(in.size())));
  }

  CipherContext take_context() const {
    {
      MutexLock lock(mutex_);
      if (!idle_.empty()) {
        CipherContext context = std::move(idle_.back());
        idle_.pop_back();
        return context;
      }
    }
    CipherContext context(must_have(EVP_CIPHER_CTX_new()));
    must(EVP_CipherInit_ex2(context.get(), algorithm(suite_), key_.expose().data(), nullptr, 1,
                            nullptr));
    return context;
  }

  void give_back(CipherContext context) const {
    MutexLock lock(mutex_);
    idle_.push_back(std::move(context));
  }

  Suite suite_;
  SecretBytes key_;
  mutable Mutex mutex_;
  mutable std::vector<CipherContext> idle_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<const AeadKey> expand_openssl(Suite suite, Bytes key) {
  return std::make_unique<OpenSslKey>(suite, key);
}

}  // namespace coffer
