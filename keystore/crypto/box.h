#pragma once

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// The keystore's container for a wrapped key or a sealed path (keystore/FORMAT.md, "Box"):
/// AES-256-GCM with a random nonce.
inline constexpr std::size_t kBoxOverhead = 1 + 12 + 16;

/// `key` is 32 bytes; at most 2^32 boxes under one key.
ByteVector seal_box(Bytes key, Bytes associated, Bytes plain);

/// kCorrupt if it is no box, or key or associated data are not those it was sealed with;
/// kUnknownVersion for a newer box.
Result<SecretBytes> open_box(Bytes key, Bytes associated, Bytes box);

}  // namespace coffer
