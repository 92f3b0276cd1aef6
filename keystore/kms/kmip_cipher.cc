#include "keystore/kms/kmip_cipher.h"

namespace coffer {
namespace {

using Tag = KmipTag;

constexpr std::uint32_t kGcm = 9;  // Block Cipher Mode

void write_parameters(TtlvWriter& out) {
  out.begin(Tag::kCryptographicParameters);
  out.enumeration(Tag::kBlockCipherMode, kGcm);
  out.enumeration(Tag::kCryptographicAlgorithm, kKmipAes);
  out.integer(Tag::kTagLength, kKmipTagSize);
  out.end();
}

}  // namespace

KmipRequestItem kmip_encrypt(const std::string& uid, Bytes nonce, Bytes aad, Bytes plain) {
  TtlvWriter out;
  out.text(Tag::kUniqueIdentifier, as_bytes(uid));
  write_parameters(out);
  out.bytes(Tag::kData, plain).bytes(Tag::kNonce, nonce).bytes(Tag::kAdditionalData, aad);
  return {KmipOperation::kEncrypt, out.take()};
}

KmipRequestItem kmip_decrypt(const std::string& uid, Bytes nonce, Bytes aad, Bytes sealed) {
  TtlvWriter out;
  out.text(Tag::kUniqueIdentifier, as_bytes(uid));
  write_parameters(out);
  out.bytes(Tag::kData, sealed.first(sealed.size() - kKmipTagSize));
  out.bytes(Tag::kNonce, nonce).bytes(Tag::kAdditionalData, aad);
  out.bytes(Tag::kAuthenticationTag, sealed.last(kKmipTagSize));
  return {KmipOperation::kDecrypt, out.take()};
}

std::optional<ByteVector> kmip_encrypted(const TtlvItem& payload, const std::string& uid,
                                         Bytes nonce, std::size_t length) {
  const auto data = payload.bytes(Tag::kData);
  const auto tag = payload.bytes(Tag::kAuthenticationTag);
  if (payload.text(Tag::kUniqueIdentifier) != uid || !data || data->size() != length || !tag ||
      tag->size() != kKmipTagSize)
    return std::nullopt;
  // It is said only by a server that has chosen it.
  const auto said = payload.bytes(Tag::kNonce);
  if (said && !equal(*said, nonce)) return std::nullopt;
  return ByteWriter().bytes(*data).bytes(*tag).take();
}

std::optional<SecretBytes> kmip_decrypted(const TtlvItem& payload, const std::string& uid) {
  const auto data = payload.bytes(Tag::kData);
  if (payload.text(Tag::kUniqueIdentifier) != uid || !data) return std::nullopt;
  return SecretBytes::copy_of(*data);
}

std::optional<Code> kmip_code_of(KmipReason reason) {
  switch (reason) {
    case KmipReason::kItemNotFound:
      return Code::kKmsKeyMissing;
    case KmipReason::kObjectArchived:
      return Code::kKmsKeyDisabled;
    case KmipReason::kAuthenticationNotSuccessful:
    case KmipReason::kAttestationRequired:
    case KmipReason::kAttestationFailed:
      return Code::kKmsDenied;
    case KmipReason::kResponseTooLarge:
    case KmipReason::kInvalidMessage:
    case KmipReason::kOperationNotSupported:
    case KmipReason::kFeatureNotSupported:
    case KmipReason::kOperationCanceled:
      return Code::kKmsUnavailable;
    default:
      return std::nullopt;
  }
}

bool kmip_refuses_access(KmipReason reason) {
  return reason == KmipReason::kPermissionDenied || reason == KmipReason::kIllegalOperation;
}

bool kmip_is_ambiguous(KmipReason reason) {
  return !kmip_code_of(reason) && !kmip_refuses_access(reason);
}

}  // namespace coffer
