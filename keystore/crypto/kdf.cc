#include "keystore/crypto/kdf.h"

#include <openssl/evp.h>

#include <algorithm>

namespace coffer {
namespace {

SecretBytes extract(Bytes key, Bytes salt) {
  Digest extracted = HmacKey(salt).mac(key);
  SecretBytes kept = SecretBytes::copy_of(extracted);
  wipe(extracted);
  return kept;
}

}  // namespace

HkdfSha256::HkdfSha256(Bytes key, Bytes salt) : extracted_(extract(key, salt).expose()) {}

// Not by OpenSSL's HKDF, which looks all it needs up anew each time: a file's keys then take nearly
// three times as long.
SecretBytes HkdfSha256::expand(std::string_view info, std::size_t length) const {
  SecretBytes derived(length);
  MutableBytes left = derived.expose();
  Digest block;
  Bytes before;
  for (std::uint8_t counter = 1; !left.empty(); ++counter) {
    block = extracted_.mac({before, as_bytes(info), Bytes(&counter, 1)});
    const std::size_t taken = std::min(left.size(), block.size());
    std::copy_n(block.begin(), taken, left.begin());
    left = left.subspan(taken);
    before = block;
  }
  wipe(block);
  return derived;
}

SecretBytes hkdf_sha256(Bytes key, Bytes salt, std::string_view info, std::size_t length) {
  return HkdfSha256(key, salt).expand(info, length);
}

Result<void> check_cost(const ScryptCost& cost) {
  if (cost.log2_n < 10 || cost.log2_n > 20 || cost.r < 1 || cost.r > 16 || cost.p < 1 ||
      cost.p > 4 || cost.log2_n >= 16 * cost.r) {
    return Error{Code::kInvalid, 0, "scrypt cost out of bounds"};
  }
  return {};
}

Result<SecretBytes> scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost) {
  TRY(check_cost(cost));
  const std::uint64_t n = std::uint64_t{1} << cost.log2_n;
  const std::uint64_t memory = 128ULL * cost.r * (n + cost.p + 2) + (1U << 20);
  SecretBytes key(32);
  if (EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
                     salt.data(), salt.size(), n, cost.r, cost.p, memory, key.expose().data(),
                     key.size()) != 1) {
    return Error{Code::kExhausted, 0, "scrypt failed: too little memory"};
  }
  return key;
}

}  // namespace coffer
