#pragma once

#include "tests/fuzz/fuzz_target.h"

// fs/format, and the header slots of fs/content.

namespace coffer::fuzz {

int fuzz_header(const std::uint8_t* data, std::size_t size);
int fuzz_header_slots(const std::uint8_t* data, std::size_t size);
int fuzz_tree_node(const std::uint8_t* data, std::size_t size);
int fuzz_directory_record(const std::uint8_t* data, std::size_t size);
int fuzz_geometry(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> header_seeds();
std::vector<ByteVector> header_slots_seeds();
std::vector<ByteVector> tree_node_seeds();
std::vector<ByteVector> directory_record_seeds();
std::vector<ByteVector> geometry_seeds();

}  // namespace coffer::fuzz
