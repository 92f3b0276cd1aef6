#pragma once

#include "tests/fuzz/fuzz_target.h"

// What people and the system write: store.toml, selectors, paths, values, the kernel's mount table.

namespace coffer::fuzz {

int fuzz_store_config(const std::uint8_t* data, std::size_t size);
int fuzz_lock_note(const std::uint8_t* data, std::size_t size);
int fuzz_thread_status(const std::uint8_t* data, std::size_t size);
int fuzz_cgroups(const std::uint8_t* data, std::size_t size);
int fuzz_mount_table(const std::uint8_t* data, std::size_t size);
int fuzz_selector(const std::uint8_t* data, std::size_t size);
int fuzz_policy_path(const std::uint8_t* data, std::size_t size);
int fuzz_values(const std::uint8_t* data, std::size_t size);

std::vector<ByteVector> store_config_seeds();
std::vector<ByteVector> lock_note_seeds();
std::vector<ByteVector> thread_status_seeds();
std::vector<ByteVector> cgroups_seeds();
std::vector<ByteVector> mount_table_seeds();
std::vector<ByteVector> selector_seeds();
std::vector<ByteVector> policy_path_seeds();
std::vector<ByteVector> values_seeds();

}  // namespace coffer::fuzz
