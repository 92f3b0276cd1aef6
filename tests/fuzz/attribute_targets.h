#pragma once

#include "tests/fuzz/fuzz_target.h"

// Extended attributes, and the access control lists among them.

namespace coffer::fuzz {

int fuzz_xattr_set(const std::uint8_t* data, std::size_t size);
int fuzz_xattr_sidecar(const std::uint8_t* data, std::size_t size);
int fuzz_acl(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> xattr_set_seeds();
std::vector<ByteVector> xattr_sidecar_seeds();
std::vector<ByteVector> acl_seeds();

}  // namespace coffer::fuzz
