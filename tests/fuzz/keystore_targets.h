#pragma once

#include "tests/fuzz/fuzz_target.h"

// Wrapped keys, master keys, and the keystore as a file that someone else had in hand.

namespace coffer::fuzz {

int fuzz_box(const std::uint8_t* data, std::size_t size);
int fuzz_wrapped_key(const std::uint8_t* data, std::size_t size);
int fuzz_key_file(const std::uint8_t* data, std::size_t size);
int fuzz_passphrase_parameters(const std::uint8_t* data, std::size_t size);
int fuzz_tpm2_record(const std::uint8_t* data, std::size_t size);
int fuzz_policy_rows(const std::uint8_t* data, std::size_t size);
int fuzz_keystore_file(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> box_seeds();
std::vector<ByteVector> wrapped_key_seeds();
std::vector<ByteVector> key_file_seeds();
std::vector<ByteVector> passphrase_parameters_seeds();
std::vector<ByteVector> tpm2_record_seeds();
std::vector<ByteVector> policy_rows_seeds();
std::vector<ByteVector> keystore_file_seeds();

}  // namespace coffer::fuzz
