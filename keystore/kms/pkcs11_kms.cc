#include "keystore/kms/pkcs11_kms.h"

#include <array>

#include "keystore/crypto/random.h"

namespace coffer {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kWrappedSize =
    1 + Pkcs11Key::kNonceSize + kWrappedKeySize + Pkcs11Key::kTagSize;

}  // namespace

Pkcs11Kms::Pkcs11Kms(std::string uri, std::string fingerprint, std::unique_ptr<Pkcs11Key> key)
    : uri_(std::move(uri)), fingerprint_(std::move(fingerprint)), key_(std::move(key)) {}

Result<std::unique_ptr<Pkcs11Kms>> Pkcs11Kms::open(const std::string& uri,
                                                   const PassphraseSource& pin) {
  auto key = TRY(Pkcs11Key::open(uri, pin));
  std::string fingerprint = key->fingerprint();
  return std::unique_ptr<Pkcs11Kms>(new Pkcs11Kms(uri, std::move(fingerprint), std::move(key)));
}

Result<ByteVector> Pkcs11Kms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  std::array<std::uint8_t, Pkcs11Key::kNonceSize> nonce{};
  random_bytes(nonce);
  const ByteVector sealed = TRY(key_->encrypt(nonce, context.encode(), key.expose()));
  if (sealed.size() != kWrappedKeySize + Pkcs11Key::kTagSize)
    return Error{Code::kKeyUnavailable, 0, uri_ + ": the token sealed a key in an unknown way"};
  return ByteWriter().le(kFormat).bytes(nonce).bytes(sealed).take();
}

Result<SecretBytes> Pkcs11Kms::unwrap(Bytes wrapped, const KeyContext& context) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  if (wrapped.size() != kWrappedSize)
    return Error{Code::kCorrupt, 0, "wrapped key has a wrong length"};
  SecretBytes key = TRY(key_->decrypt(wrapped.subspan(1, Pkcs11Key::kNonceSize), context.encode(),
                                      wrapped.subspan(1 + Pkcs11Key::kNonceSize)));
  return check_unwrapped(std::move(key));
}

MasterKeyRecord Pkcs11Kms::describe() const { return {uri_, fingerprint_, ""}; }

Result<std::unique_ptr<MasterKms>> create_pkcs11_master(const std::string& uri,
                                                        const PassphraseSource& pin) {
  return std::unique_ptr<MasterKms>(TRY(Pkcs11Kms::open(uri, pin)));
}

Result<std::unique_ptr<MasterKms>> open_pkcs11_master(const MasterKeyRecord& record,
                                                      const PassphraseSource& pin) {
  auto master = TRY(Pkcs11Kms::open(record.uri, pin));
  if (master->describe().version != record.version) {
    return Error{Code::kWrongKey, 0,
                 record.uri + " is another key (" + master->describe().version +
                     ") than this keystore's (" + record.version + ")"};
  }
  return std::unique_ptr<MasterKms>(std::move(master));
}

}  // namespace coffer
