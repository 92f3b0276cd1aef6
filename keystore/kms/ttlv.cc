#include "keystore/kms/ttlv.h"

#include <algorithm>

namespace coffer {
namespace {

constexpr unsigned kMostLevels = 16;
constexpr std::size_t kMostItems = 4096;

std::uint64_t load_be(Bytes from) {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : from) value = value << 8U | byte;
  return value;
}

void store_be(MutableBytes to, std::uint64_t value) {
  for (std::size_t i = to.size(); i > 0; --i) {
    to[i - 1] = static_cast<std::uint8_t>(value);
    value >>= 8U;
  }
}

constexpr std::size_t padding_of(std::size_t length) { return (8 - length % 8) % 8; }

Error malformed(const char* what) { return {Code::kInvalid, 0, std::string("TTLV: ") + what}; }

/// OASIS KMIP 1.4, 9.1.1.3, table 266.
bool fits(TtlvType type, std::size_t length) {
  switch (type) {
    case TtlvType::kInteger:
    case TtlvType::kEnumeration:
    case TtlvType::kInterval:
      return length == 4;
    case TtlvType::kLongInteger:
    case TtlvType::kBoolean:
    case TtlvType::kDateTime:
      return length == 8;
    case TtlvType::kStructure:
      return length % 8 == 0;
    case TtlvType::kBigInteger:
      return length % 8 == 0 && length > 0;
    case TtlvType::kTextString:
    case TtlvType::kByteString:
      return true;
  }
  return false;
}

struct HeaderOf {
  KmipTag tag{};
  TtlvType type{};
  std::size_t length = 0;
};

HeaderOf header_at(Bytes from) {
  return {static_cast<KmipTag>(load_be(from.first(3))), static_cast<TtlvType>(from[3]),
          load_be(from.subspan(4, 4))};
}

/// The item at the front of `rest`, which it is taken from. Not what is in it.
Result<TtlvItem> take_item(Bytes& rest) {
  if (rest.size() < kTtlvHeader) return malformed("an item is cut");
  const HeaderOf header = header_at(rest);
  // Of the standard, or a vendor's own (9.1.3.1).
  if (rest[0] != 0x42 && rest[0] != 0x54) return malformed("no tag");
  if (!fits(header.type, header.length)) return malformed("a type with a wrong length");
  const std::size_t padding = padding_of(header.length);
  if (header.length > rest.size() - kTtlvHeader ||
      padding > rest.size() - kTtlvHeader - header.length)
    return malformed("an item is longer than its place");
  const TtlvItem item{header.tag, header.type, rest.subspan(kTtlvHeader, header.length)};
  if (!all_zero(rest.subspan(kTtlvHeader + header.length, padding)))
    return malformed("padding that is not zero");
  if (item.type == TtlvType::kBoolean && load_be(item.value) > 1)
    return malformed("a boolean that is neither");
  rest = rest.subspan(kTtlvHeader + header.length + padding);
  return item;
}

Result<void> check_inside(const TtlvItem& item, unsigned level, std::size_t& count) {
  if (item.type != TtlvType::kStructure) return {};
  if (level > kMostLevels) return malformed("too many levels");
  for (Bytes rest = item.value; !rest.empty();) {
    if (++count > kMostItems) return malformed("too many items");
    TRY(check_inside(TRY(take_item(rest)), level + 1, count));
  }
  return {};
}

}  // namespace

Result<TtlvItem> parse_ttlv(Bytes message) {
  const TtlvItem item = TRY(take_item(message));
  if (!message.empty()) return malformed("something follows");
  std::size_t count = 1;
  TRY(check_inside(item, 1, count));
  return item;
}

Result<std::size_t> ttlv_rest(Bytes header, KmipTag tag, std::size_t most) {
  if (header.size() != kTtlvHeader) return malformed("an item is cut");
  const HeaderOf found = header_at(header);
  if (found.tag != tag || found.type != TtlvType::kStructure || !fits(found.type, found.length))
    return malformed("no such message");
  if (found.length > most) return malformed("too long a message");
  return found.length;
}

std::vector<TtlvItem> TtlvItem::items() const {
  std::vector<TtlvItem> found;
  if (type != TtlvType::kStructure) return found;
  for (Bytes rest = value; !rest.empty();) {
    auto item = take_item(rest);
    if (!item) return {};
    found.push_back(*item);
  }
  return found;
}

std::optional<TtlvItem> TtlvItem::one(KmipTag wanted, TtlvType of_type) const {
  std::optional<TtlvItem> found;
  for (const TtlvItem& item : items()) {
    if (item.tag != wanted) continue;
    if (found) return std::nullopt;
    found = item;
  }
  return found && found->type == of_type ? found : std::nullopt;
}

std::uint64_t TtlvItem::number() const { return value.size() <= 8 ? load_be(value) : 0; }

std::optional<std::int32_t> TtlvItem::integer(KmipTag wanted) const {
  const auto found = one(wanted, TtlvType::kInteger);
  if (!found) return std::nullopt;
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(found->number()));
}

std::optional<std::uint32_t> TtlvItem::enumeration(KmipTag wanted) const {
  const auto found = one(wanted, TtlvType::kEnumeration);
  if (!found) return std::nullopt;
  return static_cast<std::uint32_t>(found->number());
}

std::optional<std::string_view> TtlvItem::text(KmipTag wanted) const {
  const auto found = one(wanted, TtlvType::kTextString);
  if (!found) return std::nullopt;
  return as_text(found->value);
}

std::optional<Bytes> TtlvItem::bytes(KmipTag wanted) const {
  const auto found = one(wanted, TtlvType::kByteString);
  if (!found) return std::nullopt;
  return found->value;
}

void TtlvWriter::append(Bytes more) {
  if (length_ + more.size() > buffer_.size()) {
    SecretBytes bigger(std::max<std::size_t>(2 * (length_ + more.size()), 512));
    std::ranges::copy(buffer_.expose().first(length_), bigger.expose().begin());
    buffer_ = std::move(bigger);
  }
  std::ranges::copy(more, buffer_.expose().subspan(length_).begin());
  length_ += more.size();
}

void TtlvWriter::append_number(std::uint64_t value, std::size_t size) {
  std::uint8_t raw[8] = {};
  store_be(std::span(raw).first(size), value);
  append(std::span(raw).first(size));
}

void TtlvWriter::header(KmipTag tag, TtlvType type, std::size_t length) {
  append_number(static_cast<std::uint32_t>(tag), 3);
  append_number(static_cast<std::uint8_t>(type), 1);
  append_number(length, 4);
}

void TtlvWriter::padded(KmipTag tag, TtlvType type, Bytes value) {
  header(tag, type, value.size());
  append(value);
  append_number(0, padding_of(value.size()));
}

TtlvWriter& TtlvWriter::begin(KmipTag tag) {
  header(tag, TtlvType::kStructure, 0);
  open_.push_back(length_);
  return *this;
}

TtlvWriter& TtlvWriter::end() {
  const std::size_t begin = open_.back();
  open_.pop_back();
  store_be(buffer_.expose().subspan(begin - 4, 4), length_ - begin);
  return *this;
}

TtlvWriter& TtlvWriter::integer(KmipTag tag, std::int32_t value) {
  header(tag, TtlvType::kInteger, 4);
  append_number(static_cast<std::uint32_t>(value), 4);
  append_number(0, 4);
  return *this;
}

TtlvWriter& TtlvWriter::enumeration(KmipTag tag, std::uint32_t value) {
  header(tag, TtlvType::kEnumeration, 4);
  append_number(value, 4);
  append_number(0, 4);
  return *this;
}

TtlvWriter& TtlvWriter::boolean(KmipTag tag, bool value) {
  header(tag, TtlvType::kBoolean, 8);
  append_number(value ? 1 : 0, 8);
  return *this;
}

TtlvWriter& TtlvWriter::text(KmipTag tag, Bytes value) {
  padded(tag, TtlvType::kTextString, value);
  return *this;
}

TtlvWriter& TtlvWriter::bytes(KmipTag tag, Bytes value) {
  padded(tag, TtlvType::kByteString, value);
  return *this;
}

TtlvWriter& TtlvWriter::items(Bytes encoded) {
  append(encoded);
  return *this;
}

SecretBytes TtlvWriter::take() { return SecretBytes::copy_of(buffer_.expose().first(length_)); }

}  // namespace coffer
