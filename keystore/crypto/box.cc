#include "keystore/crypto/box.h"

#include <algorithm>

#include "keystore/crypto/aead_openssl.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kNonceOffset = 1;
constexpr std::size_t kBodyOffset = kNonceOffset + sizeof(Nonce);

}  // namespace

ByteVector seal_box(Bytes key, Bytes associated, Bytes plain) {
  ByteVector box(kBoxOverhead + plain.size());
  box[0] = kVersion;
  Nonce nonce;
  random_bytes(nonce);
  std::copy(nonce.begin(), nonce.end(), box.begin() + kNonceOffset);
  Tag tag;
  const MutableBytes body = MutableBytes(box).subspan(kBodyOffset, plain.size());
  expand_openssl(Suite::kAes256Gcm, key)->seal(nonce, associated, plain, body, tag);
  std::copy(tag.begin(), tag.end(), box.end() - static_cast<std::ptrdiff_t>(tag.size()));
  return box;
}

Result<SecretBytes> open_box(Bytes key, Bytes associated, Bytes box) {
  if (box.size() < kBoxOverhead) return Error{Code::kCorrupt, 0, "wrapped key is cut short"};
  if (box[0] != kVersion)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  Nonce nonce;
  std::copy_n(box.begin() + kNonceOffset, nonce.size(), nonce.begin());
  Tag tag;
  std::copy_n(box.end() - static_cast<std::ptrdiff_t>(tag.size()), tag.size(), tag.begin());
  SecretBytes plain(box.size() - kBoxOverhead);
  if (!expand_openssl(Suite::kAes256Gcm, key)
           ->open(nonce, associated, box.subspan(kBodyOffset, plain.size()), plain.expose(), tag)) {
    return Error{Code::kCorrupt, 0, "wrapped key does not authenticate"};
  }
  return plain;
}

}  // namespace coffer
