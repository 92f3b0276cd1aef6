#pragma once

#include <compare>
#include <cstdint>
#include <optional>

namespace coffer {

/// One version of a file: while none of this changes, its content does not. The time of change
/// can't be set by those who write to it.
struct FileVersion {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;

  auto operator<=>(const FileVersion&) const = default;
};

/// A file as it was found, and the mount that it was found on.
struct FoundFile {
  FileVersion version;
  std::uint64_t mount = 0;

  bool operator==(const FoundFile&) const = default;
};

/// The file at `dir`, links followed; or `dir` itself if `name` is empty. Nothing if there is none
/// (errno says why), or it is no regular file. Asks no process that answers for a filesystem.
std::optional<FoundFile> find_file(int dir, const char* name);

}  // namespace coffer
