#include "tests/fuzz/kmip_targets.h"

#include <string>
#include <vector>

#include "keystore/kms/kmip_key.h"
#include "keystore/kms/kmip_kms.h"

namespace coffer::fuzz {

/// What a KMIP server says, to a question with an identifier that it can know.
int fuzz_kmip_answer(const std::uint8_t* data, std::size_t size) {
  const Bytes message(data, size);
  const auto item = parse_ttlv(message);
  require_code(item, {Code::kInvalid}, "TTLV");
  if (item) {
    const auto rest = ttlv_rest(message.first(kTtlvHeader), item->tag, size);
    require(item->type != TtlvType::kStructure || (rest && *rest + kTtlvHeader == size),
            "a message is as long as it says");
    std::size_t inside = 0;
    for (const TtlvItem& each : item->items())
      inside += kTtlvHeader + (each.value.size() + 7) / 8 * 8;
    require(item->type != TtlvType::kStructure || inside == item->value.size(),
            "a structure is what is in it");
  }
  std::vector<KmipRequestItem> asked;
  for (int i = 0; i < 2; ++i) {
    asked.emplace_back(KmipOperation::kGetAttributes, SecretBytes());
    asked.back().id.fill(7);
  }
  for (const std::size_t count : {1U, 2U}) {
    const auto answer =
        KmipAnswer::parse(SecretBytes::copy_of(message), std::span(asked).first(count));
    require_code(answer, {Code::kInvalid}, "an answer");
    if (!answer) continue;
    require(!answer->results().empty() && answer->results().size() <= count,
            "results are of what was asked");
    require(answer->failure() != nullptr || answer->results().size() == count,
            "a success is of all");
    for (const KmipResult& result : answer->results()) {
      if (result.failed) continue;
      const auto key = KmipKey::from(result.payload, "1");
      if (key) (void)key->why_not(KmipKey::kMayDecrypt);
    }
  }
  const auto uri = KmipKeyUri::parse(std::string(as_text(message)));
  require_code(uri, {Code::kInvalid}, "a KMIP server's URI");
  return 0;
}

std::vector<ByteVector> kmip_answer_seeds() {
  const auto answer = [](unsigned results, bool failed) {
    TtlvWriter out;
    out.begin(KmipTag::kResponseMessage).begin(KmipTag::kResponseHeader);
    out.begin(KmipTag::kProtocolVersion);
    out.integer(KmipTag::kProtocolVersionMajor, 1).integer(KmipTag::kProtocolVersionMinor, 4).end();
    out.integer(KmipTag::kBatchCount, static_cast<std::int32_t>(results)).end();
    for (unsigned i = 0; i < results; ++i) {
      out.begin(KmipTag::kBatchItem).enumeration(KmipTag::kOperation, 0x0b);
      out.bytes(KmipTag::kUniqueBatchItemId, ByteVector(8, 7));
      out.enumeration(KmipTag::kResultStatus, failed ? 1 : 0);
      if (failed) {
        out.enumeration(KmipTag::kResultReason, 0x100);
        out.text(KmipTag::kResultMessage, as_bytes("no")).end();
        continue;
      }
      out.begin(KmipTag::kResponsePayload).text(KmipTag::kUniqueIdentifier, as_bytes("1"));
      for (const char* const name : {"Object Type", "State", "Cryptographic Algorithm"}) {
        out.begin(KmipTag::kAttribute).text(KmipTag::kAttributeName, as_bytes(name));
        out.enumeration(KmipTag::kAttributeValue, 2).end();
      }
      for (const char* const name : {"Cryptographic Length", "Cryptographic Usage Mask"}) {
        out.begin(KmipTag::kAttribute).text(KmipTag::kAttributeName, as_bytes(name));
        out.integer(KmipTag::kAttributeValue, 256).end();
      }
      out.begin(KmipTag::kAttribute).text(KmipTag::kAttributeName, as_bytes("Sensitive"));
      out.boolean(KmipTag::kAttributeValue, true).end();
      out.end().end();
    }
    const SecretBytes made = out.end().take();
    return ByteVector(made.expose().begin(), made.expose().end());
  };
  const Bytes uri = as_bytes("kmip://127.0.0.1:5696/1");
  return {answer(1, false), answer(2, false), answer(1, true), ByteVector(uri.begin(), uri.end())};
}

}  // namespace coffer::fuzz
