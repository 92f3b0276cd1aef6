#include "fs/identity/mounts.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <charconv>

#include "fs/identity/proc_files.h"

namespace coffer {
namespace {

/// "ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [FIELDS] - TYPE SOURCE OPTIONS"; blanks in names are
/// escaped.
bool parse_line(std::string_view line, std::pair<std::uint64_t, MountKind>& mount) {
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), mount.first);
  const std::size_t separator = line.find(" - ");
  if (parsed.ec != std::errc() || *parsed.ptr != ' ' || separator == line.npos) return false;
  const std::string_view rest = line.substr(separator + 3);
  const std::string_view type = rest.substr(0, rest.find(' '));
  const bool fuse = type == "fuse" || type == "fuseblk" || type.starts_with("fuse.");
  mount.second = fuse ? MountKind::kFuse : MountKind::kOther;
  return !type.empty();
}

}  // namespace

std::vector<std::pair<std::uint64_t, MountKind>> parse_mounts(std::string_view mountinfo) {
  std::vector<std::pair<std::uint64_t, MountKind>> mounts;
  while (!mountinfo.empty()) {
    const std::string_view line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(line.size() + 1, mountinfo.size()));
    std::pair<std::uint64_t, MountKind> mount;
    if (parse_line(line, mount)) mounts.push_back(mount);
  }
  std::sort(mounts.begin(), mounts.end());
  return mounts;
}

MountKind kind_in(const std::vector<std::pair<std::uint64_t, MountKind>>& mounts,
                  std::uint64_t id) {
  const auto found =
      std::lower_bound(mounts.begin(), mounts.end(), std::pair(id, MountKind::kNone));
  return found == mounts.end() || found->first != id ? MountKind::kNone : found->second;
}

OwnMounts::OwnMounts() : file_(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)) {}

MountKind OwnMounts::kind_of(std::uint64_t id) {
  MutexLock lock(mutex_);
  struct pollfd changes {
    .fd = file_.get(), .events = POLLPRI, .revents = 0
  };
  // Asked before it is read: what changes meanwhile is heard of the next time.
  if (::poll(&changes, 1, 0) > 0 || !read_) {
    const auto text = read_records(file_.get());
    read_ = text.has_value();
    mounts_ = read_ ? parse_mounts(*text) : decltype(mounts_){};
  }
  return kind_in(mounts_, id);
}

}  // namespace coffer
