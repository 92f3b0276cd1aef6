#pragma once

#include "tests/fuzz/fuzz_target.h"

// The redo journals of fs/format and fs/content.

namespace coffer::fuzz {

int fuzz_journal_parts(const std::uint8_t* data, std::size_t size);
int fuzz_journal(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> journal_parts_seeds();
std::vector<ByteVector> journal_seeds();

}  // namespace coffer::fuzz
