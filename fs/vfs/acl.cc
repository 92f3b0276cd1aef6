#include "fs/vfs/acl.h"

#include <algorithm>
#include <cerrno>

namespace coffer {
namespace {

// Of the kernel's uapi/linux/posix_acl_xattr.h.
constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kHeadSize = 4;
constexpr std::size_t kAclEntrySize = 8;
constexpr std::uint32_t kNobody = 0xffffffff;

bool names_someone(AclTag tag) { return tag == AclTag::kUser || tag == AclTag::kGroup; }

bool is_tag(std::uint16_t tag) {
  return tag != 0 && tag <= static_cast<std::uint16_t>(AclTag::kOther) && (tag & (tag - 1)) == 0;
}

/// Tags in ascending order, those that name nobody once; a mask where it is needed.
bool is_whole(const std::vector<AclEntry>& entries) {
  unsigned seen = 0;
  unsigned last = 0;
  for (const AclEntry& entry : entries) {
    const unsigned tag = static_cast<unsigned>(entry.tag);
    if (tag < last || (tag == last && !names_someone(entry.tag)) || entry.permissions > 7) {
      return false;
    }
    if (names_someone(entry.tag) && entry.id == kNobody) return false;
    seen |= tag;
    last = tag;
  }
  const auto has = [seen](AclTag tag) { return (seen & static_cast<unsigned>(tag)) != 0; };
  const bool needs_mask = has(AclTag::kUser) || has(AclTag::kGroup);
  return has(AclTag::kUserObject) && has(AclTag::kGroupObject) && has(AclTag::kOther) &&
         (has(AclTag::kMask) || !needs_mask);
}

}  // namespace

Result<Acl> Acl::decode(Bytes value) {
  if (value.size() < kHeadSize || (value.size() - kHeadSize) % kAclEntrySize != 0 ||
      load_le<std::uint32_t>(value, 0) != kVersion) {
    return errno_error(EINVAL);
  }
  Acl acl;
  for (std::size_t at = kHeadSize; at < value.size(); at += kAclEntrySize) {
    const auto tag = load_le<std::uint16_t>(value, at);
    if (!is_tag(tag)) return errno_error(EINVAL);
    acl.entries_.push_back({.tag = static_cast<AclTag>(tag),
                            .permissions = load_le<std::uint16_t>(value, at + 2),
                            .id = load_le<std::uint32_t>(value, at + 4)});
  }
  if (!is_whole(acl.entries_)) return errno_error(EINVAL);
  return acl;
}

ByteVector Acl::encode() const {
  ByteWriter out;
  out.le(kVersion);
  for (const AclEntry& entry : entries_) {
    out.le(static_cast<std::uint16_t>(entry.tag)).le(entry.permissions);
    out.le(names_someone(entry.tag) ? entry.id : kNobody);
  }
  return out.take();
}

const AclEntry* Acl::find(AclTag tag) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [tag](const AclEntry& entry) { return entry.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

AclEntry* Acl::find(AclTag tag) {
  return const_cast<AclEntry*>(static_cast<const Acl*>(this)->find(tag));
}

AclEntry& Acl::group_class() {
  AclEntry* const mask = find(AclTag::kMask);
  return mask != nullptr ? *mask : *find(AclTag::kGroupObject);
}

mode_t Acl::mode(mode_t mode) const {
  const AclEntry* const mask = find(AclTag::kMask);
  const AclEntry& group = mask != nullptr ? *mask : *find(AclTag::kGroupObject);
  return (mode & ~static_cast<mode_t>(0777)) |
         static_cast<mode_t>(find(AclTag::kUserObject)->permissions << 6) |
         static_cast<mode_t>(group.permissions << 3) | find(AclTag::kOther)->permissions;
}

bool Acl::is_mode() const { return entries_.size() == 3; }

void Acl::set_mode(mode_t mode) {
  find(AclTag::kUserObject)->permissions = static_cast<std::uint16_t>((mode >> 6) & 7);
  group_class().permissions = static_cast<std::uint16_t>((mode >> 3) & 7);
  find(AclTag::kOther)->permissions = static_cast<std::uint16_t>(mode & 7);
}

mode_t Acl::narrow(mode_t mode) {
  const auto narrow = [mode](AclEntry& entry, unsigned shift) {
    entry.permissions = static_cast<std::uint16_t>(entry.permissions & (mode >> shift) & 7);
  };
  narrow(*find(AclTag::kUserObject), 6);
  narrow(group_class(), 3);
  narrow(*find(AclTag::kOther), 0);
  return this->mode(mode);
}

mode_t Acl::group_permissions() const {
  const AclEntry* const mask = find(AclTag::kMask);
  return find(AclTag::kGroupObject)->permissions & (mask != nullptr ? mask->permissions : 7U);
}

}  // namespace coffer
