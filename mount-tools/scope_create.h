#pragma once

#include <string>

#include "fs/identity/identity_resolver.h"
#include "keystore/keyring/rows.h"
#include "mount-tools/wiring.h"

namespace coffer {

/// Makes the scope whose root directory is to be `path`: its row and keys in the keystore, then the
/// directory, whose parent has to be there and which must not. `caller` needs the right to write
/// there.
Result<ScopeId> create_scope(OpenStore& store, const std::string& path,
                             const ScopeSettings& settings, const Caller& caller);

/// The same for a control request of a mount; gives the answer line.
std::string serve_scope_create(OpenStore& store, const std::string& request, const Caller& caller);

}  // namespace coffer
