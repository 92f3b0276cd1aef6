#pragma once

#include <sys/types.h>

#include "keystore/access/selector.h"
#include "keystore/base/result.h"

namespace coffer {

/// Who the kernel says is calling: of a FUSE request, or of this very process. `tid` is a thread
/// id; 0 means that the kernel knows no caller.
struct Caller {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  pid_t tid = 0;

  /// The calling thread itself.
  static Caller self();
};

/// What can be known of a caller, as selectors: uid and gid from the request, supplementary groups
/// from /proc. Call it before the request is answered: until then the caller waits and its /proc
/// entry is its own. A caller without a thread gets an identity without selectors, to which nothing
/// is granted; so does one that is gone. Thread-safe.
Identity resolve_identity(const Caller& caller);

/// The part of it that the request itself tells: uid and gid, no pid. Thread-safe.
Identity identity_of_request(const Caller& caller);

}  // namespace coffer
