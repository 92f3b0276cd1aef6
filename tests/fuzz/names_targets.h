#pragma once

#include "tests/fuzz/fuzz_target.h"

// fs/names and the text encodings of keystore/base.

namespace coffer::fuzz {

int fuzz_text_encodings(const std::uint8_t* data, std::size_t size);
int fuzz_stored_name(const std::uint8_t* data, std::size_t size);
int fuzz_stored_target(const std::uint8_t* data, std::size_t size);
int fuzz_sealed_directory(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> text_encodings_seeds();
std::vector<ByteVector> stored_name_seeds();
std::vector<ByteVector> stored_target_seeds();
std::vector<ByteVector> sealed_directory_seeds();

}  // namespace coffer::fuzz
