#include "fs/identity/file_version.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace coffer {

std::optional<FoundFile> find_file(int dir, const char* name) {
  struct statx found {};
  constexpr unsigned kWanted = STATX_BASIC_STATS | STATX_MNT_ID;
  // As far as the kernel knows: a filesystem in user space would be asked, this one perhaps.
  if (::statx(dir, name, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, kWanted, &found) != 0)
    return std::nullopt;
  constexpr unsigned kNeeded = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_CTIME | STATX_MNT_ID;
  if ((found.stx_mask & kNeeded) != kNeeded || !S_ISREG(found.stx_mode)) {
    errno = ENOTSUP;
    return std::nullopt;
  }
  const auto ns = [](const struct statx_timestamp& time) {
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
  };
  return FoundFile{
      .version = {.device = (std::uint64_t{found.stx_dev_major} << 32U) | found.stx_dev_minor,
                  .inode = found.stx_ino,
                  .size = found.stx_size,
                  .modified_ns = ns(found.stx_mtime),
                  .changed_ns = ns(found.stx_ctime)},
      .mount = found.stx_mnt_id};
}

}  // namespace coffer
