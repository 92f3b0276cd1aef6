#pragma once

#include <optional>
#include <string>

#include "keystore/kms/kmip_message.h"

namespace coffer {

// Encrypt and Decrypt of KMIP 1.4 (4.29, 4.30) by AES-GCM, and what their failures mean.

constexpr std::size_t kKmipNonceSize = 12;
constexpr std::size_t kKmipTagSize = 16;

KmipRequestItem kmip_encrypt(const std::string& uid, Bytes nonce, Bytes aad, Bytes plain);
/// `sealed` is ciphertext and tag.
KmipRequestItem kmip_decrypt(const std::string& uid, Bytes nonce, Bytes aad, Bytes sealed);

/// Ciphertext and tag of a success; none if it is none of `length` bytes by this key and nonce.
std::optional<ByteVector> kmip_encrypted(const TtlvItem& payload, const std::string& uid,
                                         Bytes nonce, std::size_t length);
/// None if it is none by this key.
std::optional<SecretBytes> kmip_decrypted(const TtlvItem& payload, const std::string& uid);

/// What a reason says by itself; none where the key's state, or another question, has to tell.
std::optional<Code> kmip_code_of(KmipReason reason);
/// Said of what a user may not do, and of what a key's state does not allow.
bool kmip_refuses_access(KmipReason reason);
/// May be said of what is asked for, as well as of trouble that the server has.
bool kmip_is_ambiguous(KmipReason reason);

}  // namespace coffer
