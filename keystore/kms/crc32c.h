#pragma once

#include <cstdint>

#include "keystore/base/bytes.h"

namespace coffer {

/// CRC-32C (Castagnoli; RFC 3720, 12.1). Takes the same time whatever the bytes are, for it is
/// computed of keys as well.
std::uint32_t crc32c(Bytes data);

}  // namespace coffer
