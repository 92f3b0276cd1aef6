#include "keystore/kms/kmip_key.h"

#include <array>
#include <map>
#include <string_view>

namespace coffer {
namespace {

using Tag = KmipTag;

constexpr std::uint32_t kSymmetricKey = 2;  // Object Type

constexpr std::array<std::string_view, 8> kNames = {"Object Type",
                                                    "Cryptographic Algorithm",
                                                    "Cryptographic Length",
                                                    "Cryptographic Usage Mask",
                                                    "Initial Date",
                                                    "State",
                                                    "Sensitive",
                                                    "Extractable"};

struct Attributes {
  std::map<std::string_view, TtlvItem> values;

  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view name, TtlvType type) const {
    const auto found = values.find(name);
    if (found == values.end() || found->second.type != type) return std::nullopt;
    return found->second.number();
  }
  [[nodiscard]] std::optional<bool> flag(std::string_view name) const {
    const auto value = number(name, TtlvType::kBoolean);
    if (!value) return std::nullopt;
    return *value == 1;
  }
};

/// None if one has no value or stands twice.
std::optional<Attributes> read_attributes(const TtlvItem& payload) {
  Attributes found;
  for (const TtlvItem& item : payload.items()) {
    if (item.tag != Tag::kAttribute) continue;
    const auto name = item.text(Tag::kAttributeName);
    std::optional<TtlvItem> value;
    for (const TtlvItem& part : item.items()) {
      if (part.tag == Tag::kAttributeValue) value = part;
    }
    if (!name || !value || !found.values.try_emplace(*name, *value).second) return std::nullopt;
  }
  return found;
}

}  // namespace

std::string to_string(KmipState state) {
  switch (state) {
    case KmipState::kPreActive:
      return "Pre-Active";
    case KmipState::kActive:
      return "Active";
    case KmipState::kDeactivated:
      return "Deactivated";
    case KmipState::kCompromised:
      return "Compromised";
    case KmipState::kDestroyed:
      return "Destroyed";
    case KmipState::kDestroyedCompromised:
      return "Destroyed Compromised";
  }
  return "unknown";
}

SecretBytes KmipKey::request(const std::string& uid) {
  TtlvWriter out;
  out.text(Tag::kUniqueIdentifier, as_bytes(uid));
  for (const std::string_view name : kNames) out.text(Tag::kAttributeName, as_bytes(name));
  return out.take();
}

std::optional<KmipKey> KmipKey::from(const TtlvItem& payload, const std::string& uid) {
  const auto attributes = read_attributes(payload);
  if (payload.text(Tag::kUniqueIdentifier) != uid || !attributes) return std::nullopt;
  const auto state = attributes->number("State", TtlvType::kEnumeration);
  const auto usage = attributes->number("Cryptographic Usage Mask", TtlvType::kInteger);
  const auto type = attributes->number("Object Type", TtlvType::kEnumeration);
  // Other objects have none of the rest.
  if (type && *type != kSymmetricKey) return KmipKey{};
  if (!type || !state || !usage) return std::nullopt;
  KmipKey key;
  key.is_aes_256 =
      attributes->number("Cryptographic Algorithm", TtlvType::kEnumeration) == kKmipAes &&
      attributes->number("Cryptographic Length", TtlvType::kInteger) == 256;
  key.state = static_cast<KmipState>(*state);
  key.usage = static_cast<std::uint32_t>(*usage);
  key.made_at = static_cast<std::int64_t>(
      attributes->number("Initial Date", TtlvType::kDateTime).value_or(0));
  key.sensitive = attributes->flag("Sensitive");
  key.extractable = attributes->flag("Extractable");
  return key;
}

bool KmipKey::given_away() const {
  if (sensitive == true || extractable == false) return false;
  return sensitive.has_value() || extractable.has_value();
}

std::optional<Error> KmipKey::why_not(std::uint32_t usage_needed) const {
  if (state == KmipState::kDestroyed || state == KmipState::kDestroyedCompromised)
    return Error{Code::kKmsKeyMissing, 0, "the key was destroyed"};
  if (state != KmipState::kActive) {
    return Error{Code::kKmsKeyDisabled, 0,
                 "the key's state is " + to_string(state) + "; it has to be Active"};
  }
  if ((usage & usage_needed) != usage_needed) {
    return Error{Code::kKmsKeyDisabled, 0,
                 "the key's Cryptographic Usage Mask does not allow this; it has to hold Encrypt "
                 "and Decrypt"};
  }
  return std::nullopt;
}

}  // namespace coffer
