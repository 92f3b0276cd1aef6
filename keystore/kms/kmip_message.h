#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "keystore/kms/ttlv.h"

namespace coffer {

// Requests and answers of OASIS KMIP 1.4: tags (9.1.3.1) and enumerations (9.1.3.2) as far as they
// are used here, and what stands around operations (7).

/// Of the Cryptographic Algorithms.
inline constexpr std::uint32_t kKmipAes = 3;

enum class KmipTag : std::uint32_t {
  kAttribute = 0x420008,
  kAttributeName = 0x42000a,
  kAttributeValue = 0x42000b,
  kAuthentication = 0x42000c,
  kBatchCount = 0x42000d,
  kBatchErrorContinuation = 0x42000e,
  kBatchItem = 0x42000f,
  kBatchOrder = 0x420010,
  kBlockCipherMode = 0x420011,
  kCredential = 0x420023,
  kCredentialType = 0x420024,
  kCredentialValue = 0x420025,
  kCryptographicAlgorithm = 0x420028,
  kCryptographicParameters = 0x42002b,
  kNonce = 0x42003d,  ///< IV/Counter/Nonce
  kMaximumResponseSize = 0x420050,
  kOperation = 0x42005c,
  kProtocolVersion = 0x420069,
  kProtocolVersionMajor = 0x42006a,
  kProtocolVersionMinor = 0x42006b,
  kRequestHeader = 0x420077,
  kRequestMessage = 0x420078,
  kRequestPayload = 0x420079,
  kResponseHeader = 0x42007a,
  kResponseMessage = 0x42007b,
  kResponsePayload = 0x42007c,
  kResultMessage = 0x42007d,
  kResultReason = 0x42007e,
  kResultStatus = 0x42007f,
  kUniqueBatchItemId = 0x420093,
  kUniqueIdentifier = 0x420094,
  kUsername = 0x420099,
  kPassword = 0x4200a1,
  kData = 0x4200c2,
  kTagLength = 0x4200ce,
  kAdditionalData = 0x4200fe,     ///< Authenticated Encryption Additional Data
  kAuthenticationTag = 0x4200ff,  ///< Authenticated Encryption Tag
};

enum class KmipOperation : std::uint32_t {
  kGetAttributes = 0x0b,
  kDiscoverVersions = 0x1e,
  kEncrypt = 0x1f,
  kDecrypt = 0x20,
};
std::string_view to_string(KmipOperation operation);

enum class KmipReason : std::uint32_t {
  kItemNotFound = 0x01,
  kResponseTooLarge = 0x02,
  kAuthenticationNotSuccessful = 0x03,
  kInvalidMessage = 0x04,
  kOperationNotSupported = 0x05,
  kFeatureNotSupported = 0x08,
  kOperationCanceled = 0x09,
  kCryptographicFailure = 0x0a,
  kIllegalOperation = 0x0b,
  kPermissionDenied = 0x0c,
  kObjectArchived = 0x0d,
  kAttestationRequired = 0x14,
  kAttestationFailed = 0x15,
  kGeneralFailure = 0x100,
};

constexpr std::size_t kKmipMostAnswer = 128 * 1024;  ///< of locked memory

/// One operation, with the contents of its Request Payload, and an identifier of its own by which
/// its answer is known.
struct KmipRequestItem {
  KmipRequestItem(KmipOperation asked, SecretBytes contents);

  KmipOperation operation;
  SecretBytes payload;
  std::array<std::uint8_t, 8> id{};
};

/// A Username and Password (2.1.2).
struct KmipCredential {
  std::string user;
  SecretBytes password;
};

/// A Request Message of KMIP 1.4: operations that are done in their order, up to the first that
/// fails. `credential` may be null.
SecretBytes encode_kmip_request(std::span<const KmipRequestItem> items,
                                const KmipCredential* credential);

/// What became of one operation.
struct KmipResult {
  std::optional<KmipReason> failed;  ///< none: success
  std::string words;                 ///< the server's, fit for a message
  TtlvItem payload;                  ///< of a success: a view of the answer
};

/// A Response Message; the results' payloads are views of it. Moved with them.
class KmipAnswer {
 public:
  /// kInvalid unless it is an answer to these operations: as many results, in their order and with
  /// their identifiers, or fewer if the last of them failed. One that failed may stand for all.
  static Result<KmipAnswer> parse(SecretBytes message, std::span<const KmipRequestItem> asked);

  [[nodiscard]] const std::vector<KmipResult>& results() const { return results_; }
  /// The failure, if there is one.
  [[nodiscard]] const KmipResult* failure() const;

 private:
  explicit KmipAnswer(SecretBytes message) : message_(std::move(message)) {}
  SecretBytes message_;
  std::vector<KmipResult> results_;
};

}  // namespace coffer
