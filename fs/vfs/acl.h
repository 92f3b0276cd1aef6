#pragma once

#include <sys/stat.h>

#include <string_view>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// The names under which access control lists are extended attributes, as the kernel has them.
inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

/// What an entry of an access control list is about (POSIX.1e draft 17; acl(5)).
enum class AclTag : std::uint16_t {
  kUserObject = 0x01,
  kUser = 0x02,
  kGroupObject = 0x04,
  kGroup = 0x08,
  kMask = 0x10,
  kOther = 0x20
};

struct AclEntry {
  AclTag tag = AclTag::kOther;
  std::uint16_t permissions = 0;  ///< of the bits 7
  std::uint32_t id = 0;           ///< a uid or gid where the tag names one
  bool operator==(const AclEntry&) const = default;
};

/// An access control list that is whole: owner, group and others once each and in their order, a
/// mask if there is any other entry. The kernel decides by it; what stands here is what a
/// filesystem does to it.
class Acl {
 public:
  /// From an attribute's value. EINVAL if it is no list, or not a whole one.
  static Result<Acl> decode(Bytes value);
  [[nodiscard]] ByteVector encode() const;

  /// `mode` with the permission bits that stand for the list: the group's are the mask's.
  [[nodiscard]] mode_t mode(mode_t mode) const;
  /// It says no more than its mode does.
  [[nodiscard]] bool is_mode() const;
  /// As chmod(2) changes it.
  void set_mode(mode_t mode);
  /// For a new object, made from a default list: narrowed to what `mode` asks for; the mode that
  /// the object gets.
  mode_t narrow(mode_t mode);
  /// What the group of an object gets that can have no list.
  [[nodiscard]] mode_t group_permissions() const;

 private:
  [[nodiscard]] const AclEntry* find(AclTag tag) const;
  AclEntry* find(AclTag tag);
  /// That which the mode's bits of the group stand for.
  AclEntry& group_class();

  std::vector<AclEntry> entries_;
};

}  // namespace coffer
