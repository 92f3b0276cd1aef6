#pragma once

#include "keystore/crypto/aead.h"
#include "keystore/crypto/random.h"

namespace coffer {

/// Nonces of one session of writing: a random 96-bit start, then one up each time
/// (fs/FORMAT.md, 3.3). Not thread-safe.
class NonceSequence {
 public:
  NonceSequence() = default;
  /// From a given start: for tests.
  explicit NonceSequence(const Nonce& start) : next_(start), started_(true) {}

  Nonce next() {
    if (!started_) {
      random_bytes(next_);
      started_ = true;
    }
    const Nonce nonce = next_;
    for (std::uint8_t& byte : next_) {
      if (++byte != 0) break;
    }
    return nonce;
  }

 private:
  Nonce next_{};
  bool started_ = false;
};

}  // namespace coffer
