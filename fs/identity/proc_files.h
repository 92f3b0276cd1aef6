#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coffer {

/// Reading the kernel's files, whose size nobody knows before.

/// All that a file of one record says now (/proc/TID/status, cgroup), in `buffer`, which is kept
/// for the next. Nothing if reading fails (errno says why; ESRCH: the thread is gone, whoever has
/// its number then), or there is more than a mebibyte.
std::optional<std::string_view> read_record(int fd, std::string& buffer);

/// All of a file of many records (/proc/TID/mountinfo), from its beginning; nothing as above, or
/// beyond 16 MiB.
std::optional<std::string> read_records(int fd);

/// The target of a link at `dir`; nothing if there is none, or it is longer than a path may be.
std::optional<std::string> read_link(int dir, const char* name);

}  // namespace coffer
