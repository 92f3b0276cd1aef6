#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace coffer {

/// What /proc/TID/status says of a thread.
struct ThreadStatus {
  pid_t tgid = 0;
  std::vector<gid_t> groups;
  /// How many numbers it has: one in each pid namespace from that of this /proc down to its own. 0
  /// where the kernel has no such namespaces.
  std::size_t numbers = 0;
  /// It runs no program: a thread of the kernel's, or one that has ended.
  bool without_program = false;
};

/// Nothing if the text lacks the lines of process or groups, or one holds anything but numbers: a
/// group that is not known may be one that is denied.
std::optional<ThreadStatus> parse_thread_status(std::string_view text);

}  // namespace coffer
