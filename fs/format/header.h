#pragma once

#include <array>
#include <vector>

#include "fs/format/geometry.h"
#include "keystore/base/ids.h"

namespace coffer {

/// A short MAC of (directory id, name), under which an object may be found (fs/FORMAT.md, 2).
using Binding = std::array<std::uint8_t, 16>;
using Hash = std::array<std::uint8_t, 32>;
using Block = std::array<std::uint8_t, kBlockSize>;

inline constexpr std::size_t kMaxFileBindings = 238;
inline constexpr std::size_t kMaxDirectoryBindings = 8;

/// The header of a file (fs/FORMAT.md, 3.1).
struct FileHeader {
  std::uint16_t suite = 0;
  unsigned chunk_log2 = 0;
  StoreId store;
  FileId file;
  KeyVersion dek_version;
  ScopeId scope;
  std::uint64_t plain_size = 0;
  std::uint64_t generation = 0;
  Hash root{};
  Hash commitment{};
  Hash xattrs{};  ///< of the sidecar with the extended attributes (fs/FORMAT.md, 10); zeros: none
  std::vector<Binding> bindings;
};

/// The last 32 bytes of a slot hold the MAC of all before.
inline constexpr std::size_t kHeaderMacOffset = kBlockSize - 32;

/// Fills a slot but for its MAC. `bindings` are at most kMaxFileBindings.
void encode_header(const FileHeader& header, Block& slot);
/// Checks all that can be checked without a key: magic, version, ranges, reserved bytes. kNotFound
/// if the slot is all zeros (never written), kUnknownVersion, kCorrupt.
Result<FileHeader> decode_header(Bytes slot);

/// A directory's own record (fs/FORMAT.md, 5).
struct DirectoryRecord {
  ScopeId scope;
  StoreId store;
  DirId dir;
  std::uint64_t generation = 0;
  std::vector<Binding> bindings;
  Hash xattrs{};  ///< as FileHeader::xattrs
};

inline constexpr std::size_t kDirectoryRecordSize = 512;
inline constexpr std::size_t kDirectoryMacOffset = kDirectoryRecordSize - 32;
using DirectoryBlock = std::array<std::uint8_t, kDirectoryRecordSize>;

void encode_directory(const DirectoryRecord& record, DirectoryBlock& out);
Result<DirectoryRecord> decode_directory(Bytes record);

}  // namespace coffer
