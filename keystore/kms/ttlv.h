#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Tags of KMIP (kmip_message.h has those that are used).
enum class KmipTag : std::uint32_t;

/// Item types of TTLV (OASIS KMIP 1.4, 9.1.1.2).
enum class TtlvType : std::uint8_t {
  kStructure = 1,
  kInteger = 2,
  kLongInteger = 3,
  kBigInteger = 4,
  kEnumeration = 5,
  kBoolean = 6,
  kTextString = 7,
  kByteString = 8,
  kDateTime = 9,
  kInterval = 10,
};

/// Tag, type and length stand before every value.
constexpr std::size_t kTtlvHeader = 8;

/// One item of a message that `parse_ttlv` has checked: a view of its bytes.
struct TtlvItem {
  KmipTag tag{};
  TtlvType type{};
  Bytes value;  ///< without padding

  /// What is in a structure, in its order; nothing of any other type.
  [[nodiscard]] std::vector<TtlvItem> items() const;
  /// The item of a structure that has this tag and type; none if there is no such or more than one
  /// of that tag.
  [[nodiscard]] std::optional<TtlvItem> one(KmipTag wanted, TtlvType of_type) const;
  /// Likewise, as what its type holds.
  [[nodiscard]] std::optional<std::int32_t> integer(KmipTag wanted) const;
  [[nodiscard]] std::optional<std::uint32_t> enumeration(KmipTag wanted) const;
  [[nodiscard]] std::optional<std::string_view> text(KmipTag wanted) const;
  [[nodiscard]] std::optional<Bytes> bytes(KmipTag wanted) const;

  /// Of an item of a type that is a number (Integer, Enumeration, Boolean, Date-Time, Interval,
  /// Long Integer): it, with the bits of its size.
  [[nodiscard]] std::uint64_t number() const;
};

/// The one item that `message` is, with all that is in it: known types, lengths that fit their type
/// and their place, zeros as padding, no more than 16 levels and 4096 items. kInvalid for anything
/// else, bytes that follow included.
Result<TtlvItem> parse_ttlv(Bytes message);

/// How many bytes of a message follow its first eight. kInvalid if those do not begin a structure
/// with this tag, or there would be more than `most`.
Result<std::size_t> ttlv_rest(Bytes header, KmipTag tag, std::size_t most);

/// Writes items one after the other, in locked memory: there are keys among them.
class TtlvWriter {
 public:
  /// A structure, which holds what is written until its `end`.
  TtlvWriter& begin(KmipTag tag);
  TtlvWriter& end();
  TtlvWriter& integer(KmipTag tag, std::int32_t value);
  TtlvWriter& enumeration(KmipTag tag, std::uint32_t value);
  TtlvWriter& boolean(KmipTag tag, bool value);
  TtlvWriter& text(KmipTag tag, Bytes value);
  TtlvWriter& bytes(KmipTag tag, Bytes value);
  /// Items that another writer has made.
  TtlvWriter& items(Bytes encoded);
  SecretBytes take();

 private:
  void append(Bytes more);
  void append_number(std::uint64_t value, std::size_t size);
  void header(KmipTag tag, TtlvType type, std::size_t length);
  void padded(KmipTag tag, TtlvType type, Bytes value);

  SecretBytes buffer_;
  std::size_t length_ = 0;
  std::vector<std::size_t> open_;  ///< where the contents of structures begin that have no end yet
};

}  // namespace coffer
