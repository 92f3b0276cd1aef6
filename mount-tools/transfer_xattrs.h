#pragma once

#include <string>
#include <vector>

#include "fs/vfs/vfs.h"

namespace coffer {

// Extended attributes and access control lists on their way into a store and out of it. Carried are
// the user's own (`user.`), ACLs and, by root, `trusted.` and `security.`.

/// Attributes that could not be kept where they were to go, and why: "user.origin (Operation not
/// supported)".
using XattrsLeftOut = std::vector<std::string>;

/// Those of a file or directory outside a store; a symlink is not followed. Others that it has are
/// among `left_out`.
Result<XattrSet> read_outer_xattrs(const std::string& path, XattrsLeftOut& left_out);
/// Those of a file or directory in a store.
Result<XattrSet> read_stored_xattrs(Vfs& vfs, const Who& who, InodeId inode);

/// Gives an object of the store these attributes and these ACLs, no others: an inherited one goes.
/// Other attributes that it has stay. After its mode and owner were set.
Result<XattrsLeftOut> store_xattrs(Vfs& vfs, const Who& who, InodeId inode, const XattrSet& set);

/// The same outside a store, in two parts. `user.` and `trusted.`, while its mode lets us write.
XattrsLeftOut set_outer_xattrs(const std::string& path, const XattrSet& set);
/// `security.` and ACLs, after its owner and mode were set, which they go with.
XattrsLeftOut set_outer_privileges(const std::string& path, const XattrSet& set);

}  // namespace coffer
