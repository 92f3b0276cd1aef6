#pragma once

#include <memory>

#include "keystore/crypto/aead.h"

namespace coffer {

/// Private to keystore/crypto: either suite by OpenSSL's EVP.
std::unique_ptr<const AeadKey> expand_openssl(Suite suite, Bytes key);

}  // namespace coffer
