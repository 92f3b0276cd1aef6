#pragma once

#include <sys/types.h>

#include <iosfwd>
#include <optional>
#include <string>

namespace coffer {

/// What the kernel has mounted at an absolute path, by its own table: asking the path itself could
/// wait for a dead mount for ever.
struct MountedFilesystem {
  std::string device;  ///< "0:57", as below /sys/class/bdi
  std::string type;    ///< "fuse.coffer"
  /// Who mounted it, of a FUSE filesystem.
  std::optional<uid_t> user = std::nullopt;
};

/// The topmost mount at `mountpoint`; nothing if there is none.
std::optional<MountedFilesystem> find_mount(const std::string& mountpoint);
/// The same by a table in the form of /proc/self/mountinfo (proc(5)); lines of another form are
/// passed over.
std::optional<MountedFilesystem> find_mount(std::istream& table, const std::string& mountpoint);

inline bool is_mounted(const std::string& mountpoint) { return find_mount(mountpoint).has_value(); }

}  // namespace coffer
