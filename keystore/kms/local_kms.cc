#include "keystore/kms/local_kms.h"

#include "keystore/crypto/box.h"
#include "keystore/crypto/kdf.h"

namespace coffer {
namespace {

constexpr std::size_t kKeySize = 32;

}  // namespace

LocalKms::LocalKms(std::string uri, std::string params, const SecretBytes& master_key)
    : uri_(std::move(uri)),
      params_(std::move(params)),
      fingerprint_(
          to_hex(hkdf_sha256(master_key.expose(), {}, "coffer/1/fingerprint", 8).expose())),
      wrapping_key_(hkdf_sha256(master_key.expose(), {}, "coffer/1/master", kKeySize)) {}

Result<ByteVector> LocalKms::wrap(const SecretBytes& key, const KeyContext& context) {
  TRY(check_wrappable(key));
  return seal_box(wrapping_key_.expose(), context.encode(), key.expose());
}

Result<SecretBytes> LocalKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return check_unwrapped(TRY(open_box(wrapping_key_.expose(), context.encode(), wrapped)));
}

MasterKeyRecord LocalKms::describe() const { return {uri_, fingerprint_, params_}; }

}  // namespace coffer
