#pragma once

#include <string_view>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/crypto/digest.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// HKDF-SHA-256 (RFC 5869) of a key and a salt, for as many purposes as there are. Thread-safe.
class HkdfSha256 {
 public:
  HkdfSha256(Bytes key, Bytes salt);

  /// `length` bytes (at most 8160) for the purpose that `info` names.
  [[nodiscard]] SecretBytes expand(std::string_view info, std::size_t length) const;

 private:
  HmacKey extracted_;
};

/// The same for one purpose.
SecretBytes hkdf_sha256(Bytes key, Bytes salt, std::string_view info, std::size_t length);

/// Cost of scrypt (RFC 7914): N = 2^log2_n, memory 128·r·N bytes.
struct ScryptCost {
  unsigned log2_n = 17;
  unsigned r = 8;
  unsigned p = 1;
};

/// kInvalid if the cost is below log2_n 10, above log2_n 20, r 16 or p 4 (a hostile keystore must
/// not exhaust the node), or none that RFC 7914 defines (N < 2^(16·r)).
Result<void> check_cost(const ScryptCost& cost);

/// A 32-byte key from a passphrase. As check_cost, and kExhausted if the memory is not to be had.
Result<SecretBytes> scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost);

}  // namespace coffer
