#include "keystore/crypto/random.h"

#include <openssl/rand.h>

#include <cstdlib>

namespace coffer {

void random_bytes(MutableBytes out) {
  if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) std::abort();
}

void random_key_bytes(MutableBytes out) {
  if (RAND_priv_bytes(out.data(), static_cast<int>(out.size())) != 1) std::abort();
}

}  // namespace coffer
