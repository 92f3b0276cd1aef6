#pragma once

#include "tests/fuzz/fuzz_target.h"

// The audit log: its lines, its files' first lines, its side file, its signed checkpoints.

namespace coffer::fuzz {

int fuzz_audit_lines(const std::uint8_t* data, std::size_t size);
int fuzz_audit_head(const std::uint8_t* data, std::size_t size);
int fuzz_audit_side_file(const std::uint8_t* data, std::size_t size);
int fuzz_audit_checkpoint(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> audit_lines_seeds();
std::vector<ByteVector> audit_head_seeds();
std::vector<ByteVector> audit_side_file_seeds();
std::vector<ByteVector> audit_checkpoint_seeds();

}  // namespace coffer::fuzz
