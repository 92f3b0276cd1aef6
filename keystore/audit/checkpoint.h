#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/digest.h"
#include "keystore/crypto/signature.h"

namespace coffer {

/// What a C2SP tlog-checkpoint says: the root of the log `origin` at one size.
struct Checkpoint {
  std::string origin;
  std::uint64_t size = 0;
  Digest root{};
  bool operator==(const Checkpoint&) const = default;
};

/// The body of the note, which is what is signed.
std::string checkpoint_text(const Checkpoint& checkpoint);
/// kInvalid unless it is exactly that, extension lines apart, which are passed over.
Result<Checkpoint> parse_checkpoint_text(std::string_view text);

// C2SP signed-note, with Ed25519 signatures under the key name that is the log's origin.

/// The signed note of a checkpoint.
std::string sign_checkpoint(const Checkpoint& checkpoint, const Ed25519Key& key);
/// What the signed note says, if it is signed by `key` under the name of the origin it states;
/// other signatures are passed over. kInvalid for what is no checkpoint, kCorrupt if none of its
/// signatures is the key's, or that one does not hold.
Result<Checkpoint> open_checkpoint(std::string_view note, const Ed25519PublicKey& key);
/// "NAME+KEYID+KEY", by which others verify notes of that name.
std::string verifier_key(std::string_view name, const Ed25519PublicKey& key);

/// RFC 4648, 4: as notes have it, with padding. Decoding takes what encoding gives, and nothing
/// else.
std::string to_base64(Bytes bytes);
Result<ByteVector> from_base64(std::string_view text);

}  // namespace coffer
