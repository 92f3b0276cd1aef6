#pragma once

#include <memory>

#include "fs/backing/backing_dir.h"
#include "fs/content/file_keys.h"

namespace coffer::fuzz {

// What several targets begin from. What is not to be expected in setting up ends the program.

template <typename Id>
Id id_of(std::uint8_t byte) {
  Id id;
  id.bytes.fill(byte);
  return id;
}

const AeadEngine& engine();
inline constexpr KeyVersion kDekVersion{3};
/// Of a file with the id `id_of(file)`, in scope 4.
std::shared_ptr<const FileKeys> keys_of(std::uint8_t file);
std::shared_ptr<const BackingDir> open_directory(const std::string& path);
ByteVector content_of(const BackingFile& file);

}  // namespace coffer::fuzz
