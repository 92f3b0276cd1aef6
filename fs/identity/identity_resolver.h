#pragma once

#include <sys/types.h>

#include "keystore/access/selector.h"

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

/// What is known of a caller, as selectors: uid and gid from the request, and from /proc what
/// `asked` names and no more; `known` says what of that could be read. Which process it is is told
/// always. Call it before the request is answered: until then the caller waits, and can neither end
/// nor execute another program. A caller without a thread gets an identity without selectors, to
/// which nothing is granted; so does one that is gone, and a thread of the kernel's. Thread-safe.
///
/// It does not rely on the caller's waiting. All is read through one descriptor of the thread's
/// /proc entry, which belongs to this thread for ever: a number that comes back is another's, and
/// reading fails. Nothing that a process can change is taken from memory: its groups, control
/// groups, namespaces and label are read each time, and its executable is looked up each time
/// (ExecutableOfThread says how an exec meanwhile is seen).
Identity resolve_identity(const Caller& caller, Sources asked);

/// Whether /proc is that of this process's own pid namespace. By another's the numbers of callers
/// are other processes, and resolve_identity knows nobody. Thread-safe.
bool has_own_proc();

/// The part of it that the request itself tells: uid and gid, no pid. Thread-safe.
Identity identity_of_request(const Caller& caller);

}  // namespace coffer
