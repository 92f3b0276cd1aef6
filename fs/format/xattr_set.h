#pragma once

#include <map>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// The extended attributes of one object: values by their names, as xattr(7) has them
/// ("user.origin").
using XattrSet = std::map<std::string, ByteVector, std::less<>>;

/// Linux's own limits, and the store's: of all attributes of one object together, and of their
/// names as listxattr(2) gives them.
inline constexpr std::size_t kMaxXattrName = 255;
inline constexpr std::size_t kMaxXattrValue = std::size_t{64} << 10U;
inline constexpr std::size_t kMaxXattrNames = std::size_t{64} << 10U;
inline constexpr std::size_t kMaxXattrSet = std::size_t{1} << 20U;

/// ERANGE, E2BIG or ENOSPC if a set is over one of the limits.
Result<void> check_xattr_limits(const XattrSet& set);

/// The plaintext of a sidecar (fs/FORMAT.md, 10): one form for each set. The set is within limits.
ByteVector encode_xattrs(const XattrSet& set);
/// kCorrupt if it is not what `encode_xattrs` gives for some set of one attribute or more.
Result<XattrSet> decode_xattrs(Bytes plain);

}  // namespace coffer
