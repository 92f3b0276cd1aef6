#pragma once

#include "keystore/base/bytes.h"

namespace coffer {

/// From OpenSSL's DRBGs (SP 800-90A, seeded by the kernel): `random_bytes` for nonces and ids,
/// `random_key_bytes` from the generator kept apart for keys. Abort the process if the generator
/// fails: nothing sensible can be done without it.
void random_bytes(MutableBytes out);
void random_key_bytes(MutableBytes out);

}  // namespace coffer
