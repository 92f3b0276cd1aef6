#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

namespace coffer {

/// What /proc/TID/status says of a thread.
struct ThreadStatus {
  pid_t tgid = 0;
  std::vector<gid_t> groups;
};

/// Nothing if the text lacks one of the two lines, or one holds anything but numbers: a group that
/// is not known may be one that is denied.
std::optional<ThreadStatus> parse_thread_status(std::string_view text);

}  // namespace coffer
