#pragma once

#include "tests/fuzz/fuzz_target.h"

// What comes from a KMIP server, or says where one is.

namespace coffer::fuzz {

int fuzz_kmip_answer(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> kmip_answer_seeds();

}  // namespace coffer::fuzz
