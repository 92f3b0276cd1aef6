#include "keystore/kms/aws_key.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"

namespace coffer {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kMaterialSize = 64;
constexpr std::size_t kMostOfBlob = 6144;

std::string_view name_of(KeyContext::Purpose purpose) {
  switch (purpose) {
    case KeyContext::Purpose::kPolicyKey:
      return "policy-key";
    case KeyContext::Purpose::kKek:
      return "kek";
    case KeyContext::Purpose::kScopeSecret:
      return "scope-secret";
    case KeyContext::Purpose::kDek:
      return "dek";
    case KeyContext::Purpose::kRecoveryKey:
      return "recovery-key";
  }
  return "";
}

}  // namespace

bool is_aws_material(std::string_view text) {
  return text.size() == kMaterialSize && std::ranges::all_of(text, [](char letter) {
           return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'f');
         });
}

std::optional<AwsKey> AwsKey::from(Bytes body) {
  const auto data = json_member(json_object(body), "KeyMetadata");
  if (!data.is_object()) return std::nullopt;
  const auto text = [&data](const char* name) { return json_text(data, name); };
  const auto made_at = data.value("CreationDate", nlohmann::json());
  const auto multi_region = data.value("MultiRegion", nlohmann::json());
  AwsKey key{.arn = text("Arn"),
             .id = text("KeyId"),
             .state = text("KeyState"),
             .manager = text("KeyManager"),
             .origin = text("Origin"),
             .material = text("CurrentKeyMaterialId")};
  // Of keys older than KeySpec, and servers that know no other name.
  const std::string spec =
      text("KeySpec").empty() ? text("CustomerMasterKeySpec") : text("KeySpec");
  key.symmetric = spec == "SYMMETRIC_DEFAULT" && text("KeyUsage") == "ENCRYPT_DECRYPT";
  key.multi_region = multi_region.is_boolean() && multi_region.get<bool>();
  if (!made_at.is_number() || made_at.get<double>() < 0 || made_at.get<double>() > 1e11)
    return std::nullopt;
  key.made_at = static_cast<std::uint64_t>(std::floor(made_at.get<double>()));
  if (key.arn.empty() || key.id.empty() || key.state.empty()) return std::nullopt;
  if (!key.material.empty() && !is_aws_material(key.material)) return std::nullopt;
  return key;
}

std::string AwsKey::fingerprint() const { return id + ":" + std::to_string(made_at); }

Result<AwsWrapped> AwsWrapped::parse(Bytes wrapped) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  const Error odd{Code::kCorrupt, 0, "wrapped key is not one of AWS KMS's"};
  if (wrapped.size() < 3) return odd;
  const std::size_t length = wrapped[1];
  if ((length != 0 && length != kMaterialSize) || wrapped.size() < 3 + length) return odd;
  const Bytes blob = wrapped.subspan(2 + length);
  AwsWrapped out{std::string(as_text(wrapped.subspan(2, length))), {blob.begin(), blob.end()}};
  if (blob.size() > kMostOfBlob || (length != 0 && !is_aws_material(out.material))) return odd;
  return out;
}

ByteVector AwsWrapped::encode() const {
  return ByteWriter()
      .le(kFormat)
      .le(static_cast<std::uint8_t>(material.size()))
      .text(material)
      .bytes(blob)
      .take();
}

std::string aws_encryption_context(const KeyContext& context) {
  return nlohmann::json{{"coffer-purpose", name_of(context.purpose)},
                        {"coffer-store", to_hex(context.store.bytes)},
                        {"coffer-scope", std::to_string(context.scope.value)},
                        {"coffer-kek", std::to_string(context.wrapping_kek.value)},
                        {"coffer-file", to_hex(context.file.bytes)},
                        {"coffer-version", std::to_string(context.version.value)}}
      .dump();
}

}  // namespace coffer
