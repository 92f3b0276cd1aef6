#include "fs/format/xattr_set.h"

#include <cerrno>

namespace coffer {
namespace {

/// Length of the name and of the value, before the two.
constexpr std::size_t kEntryHead = 2 + 4;

/// Not the disk's lack of space: the caller's set is too large.
Error over(int errno_value, const char* what) { return {Code::kInvalid, errno_value, what}; }

}  // namespace

Result<void> check_xattr_limits(const XattrSet& set) {
  std::size_t names = 0;
  std::size_t all = 0;
  for (const auto& [name, value] : set) {
    if (name.empty() || name.size() > kMaxXattrName) return over(ERANGE, "an attribute's name");
    if (value.size() > kMaxXattrValue) return over(E2BIG, "an attribute's value");
    names += name.size() + 1;
    all += kEntryHead + name.size() + value.size();
  }
  if (names > kMaxXattrNames || all > kMaxXattrSet) return over(ENOSPC, "all attributes together");
  return {};
}

ByteVector encode_xattrs(const XattrSet& set) {
  ByteWriter out;
  for (const auto& [name, value] : set) {
    out.le(static_cast<std::uint16_t>(name.size())).le(static_cast<std::uint32_t>(value.size()));
    out.text(name).bytes(value);
  }
  return out.take();
}

Result<XattrSet> decode_xattrs(Bytes plain) {
  const Error malformed{Code::kCorrupt, EIO, "the extended attributes are malformed"};
  XattrSet set;
  while (!plain.empty()) {
    if (plain.size() < kEntryHead) return malformed;
    const std::size_t name_length = load_le<std::uint16_t>(plain, 0);
    const std::size_t value_length = load_le<std::uint32_t>(plain, 2);
    plain = plain.subspan(kEntryHead);
    if (name_length > plain.size() || value_length > plain.size() - name_length) return malformed;
    std::string name(as_text(plain.first(name_length)));
    const Bytes value = plain.subspan(name_length, value_length);
    plain = plain.subspan(name_length + value_length);
    // In one order, and none twice.
    if (!set.empty() && name <= set.rbegin()->first) return malformed;
    set.emplace_hint(set.end(), std::move(name), ByteVector(value.begin(), value.end()));
  }
  if (set.empty() || !check_xattr_limits(set)) return malformed;
  return set;
}

}  // namespace coffer
