#pragma once

#include <string>

#include "fs/fuse/fuse_session.h"
#include "mount-tools/control.h"
#include "mount-tools/wiring.h"

namespace coffer {

// How a mount answers `coffer lock` and `coffer unlock`.
std::string serve_lock(OpenStore& store, FuseSession& session, const std::string& request,
                       const Caller& caller);
/// "7 operations were refused": since it was locked.
std::string refused_so_far(OpenStore& store);
std::string serve_unlock(OpenStore& store, const Caller& caller,
                         const PassphraseSource& passphrase);

}  // namespace coffer
