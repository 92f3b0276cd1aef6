#pragma once

// Private to keystore/crypto: owners for OpenSSL objects, and algorithms fetched once.

#include <openssl/evp.h>

#include <cstdlib>
#include <memory>

namespace coffer {

template <auto Free>
struct OsslFree {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

template <typename T, auto Free>
using OsslPtr = std::unique_ptr<T, OsslFree<Free>>;

using CipherContext = OsslPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using DigestContext = OsslPtr<EVP_MD_CTX, EVP_MD_CTX_free>;

/// A call that fails only when memory is out or OpenSSL is broken: nothing safe is left to do.
inline void must(int result) {
  if (result != 1) std::abort();
}

template <typename T>
T* must_have(T* object) {
  if (object == nullptr) std::abort();
  return object;
}

}  // namespace coffer
