#include "keystore/kms/kmip_message.h"

#include "keystore/crypto/random.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using Tag = KmipTag;

constexpr std::uint32_t kUsernameAndPassword = 1;  // Credential Type
constexpr std::uint32_t kStop = 2;                 // Batch Error Continuation Option
constexpr std::uint32_t kSuccess = 0;              // Result Status
constexpr std::uint32_t kFailed = 1;

Error odd(const char* what) { return {Code::kInvalid, 0, std::string("KMIP: ") + what}; }

void write_header(TtlvWriter& out, std::size_t count, const KmipCredential* credential) {
  out.begin(Tag::kRequestHeader);
  out.begin(Tag::kProtocolVersion);
  out.integer(Tag::kProtocolVersionMajor, 1).integer(Tag::kProtocolVersionMinor, 4);
  out.end();
  out.integer(Tag::kMaximumResponseSize, static_cast<std::int32_t>(kKmipMostAnswer));
  if (credential != nullptr) {
    out.begin(Tag::kAuthentication).begin(Tag::kCredential);
    out.enumeration(Tag::kCredentialType, kUsernameAndPassword);
    out.begin(Tag::kCredentialValue);
    out.text(Tag::kUsername, as_bytes(credential->user));
    out.text(Tag::kPassword, credential->password.expose());
    out.end().end().end();
  }
  if (count > 1) {
    out.enumeration(Tag::kBatchErrorContinuation, kStop);
    out.boolean(Tag::kBatchOrder, true);
  }
  out.integer(Tag::kBatchCount, static_cast<std::int32_t>(count));
  out.end();
}

/// How many results the header announces.
Result<std::size_t> read_header(const TtlvItem& message) {
  const auto header = message.one(Tag::kResponseHeader, TtlvType::kStructure);
  if (!header) return odd("an answer without a header");
  const auto version = header->one(Tag::kProtocolVersion, TtlvType::kStructure);
  const auto count = header->integer(Tag::kBatchCount);
  if (!version || version->integer(Tag::kProtocolVersionMajor) != 1 || !count || *count < 1)
    return odd("an answer of another version");
  return static_cast<std::size_t>(*count);
}

Result<KmipResult> read_result(const TtlvItem& item, const KmipRequestItem& asked) {
  const auto status = item.enumeration(Tag::kResultStatus);
  const auto operation = item.enumeration(Tag::kOperation);
  KmipResult result;
  result.words = without_secrets(item.text(Tag::kResultMessage).value_or(""));
  const auto id = item.bytes(Tag::kUniqueBatchItemId);
  if (id && !equal(*id, asked.id)) return odd("a result of another item");
  if (status == kFailed) {
    const auto reason = item.enumeration(Tag::kResultReason);
    if (!reason) return odd("a failure without a reason");
    result.failed = static_cast<KmipReason>(*reason);
    return result;
  }
  if (status != kSuccess || operation != static_cast<std::uint32_t>(asked.operation))
    return odd("a result of another operation");
  if (!id) return odd("a result of no item");
  const auto payload = item.one(Tag::kResponsePayload, TtlvType::kStructure);
  if (!payload) return odd("a result without contents");
  result.payload = *payload;
  return result;
}

}  // namespace

std::string_view to_string(KmipOperation operation) {
  switch (operation) {
    case KmipOperation::kGetAttributes:
      return "Get Attributes";
    case KmipOperation::kDiscoverVersions:
      return "Discover Versions";
    case KmipOperation::kEncrypt:
      return "Encrypt";
    case KmipOperation::kDecrypt:
      return "Decrypt";
  }
  return "?";
}

KmipRequestItem::KmipRequestItem(KmipOperation asked, SecretBytes contents)
    : operation(asked), payload(std::move(contents)) {
  random_bytes(id);
}

SecretBytes encode_kmip_request(std::span<const KmipRequestItem> items,
                                const KmipCredential* credential) {
  TtlvWriter out;
  out.begin(Tag::kRequestMessage);
  write_header(out, items.size(), credential);
  for (const KmipRequestItem& item : items) {
    out.begin(Tag::kBatchItem);
    out.enumeration(Tag::kOperation, static_cast<std::uint32_t>(item.operation));
    out.bytes(Tag::kUniqueBatchItemId, item.id);
    out.begin(Tag::kRequestPayload).items(item.payload.expose()).end();
    out.end();
  }
  return out.end().take();
}

Result<KmipAnswer> KmipAnswer::parse(SecretBytes message, std::span<const KmipRequestItem> asked) {
  KmipAnswer answer(std::move(message));
  const TtlvItem whole = TRY(parse_ttlv(answer.message_.expose()));
  if (whole.tag != Tag::kResponseMessage) return odd("no answer");
  const std::size_t announced = TRY(read_header(whole));
  for (const TtlvItem& item : whole.items()) {
    if (item.tag != Tag::kBatchItem) continue;
    const std::size_t index = answer.results_.size();
    if (index == asked.size() || answer.failure() != nullptr)
      return odd("more results than operations");
    answer.results_.push_back(TRY(read_result(item, asked[index])));
  }
  if (answer.results_.size() != announced) return odd("another number of results than announced");
  if (answer.results_.size() != asked.size() && answer.failure() == nullptr)
    return odd("fewer results than operations");
  return answer;
}

const KmipResult* KmipAnswer::failure() const {
  return !results_.empty() && results_.back().failed ? &results_.back() : nullptr;
}

}  // namespace coffer
