#include "fs/identity/pidfd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// linux/pidfd.h's struct pidfd_info as Linux 6.13 has it; newer ones are longer, and take this.
struct PidfdInfo {
  std::uint64_t mask = 0;
  std::uint64_t cgroup = 0;
  std::uint32_t pid = 0;
  std::uint32_t tgid = 0;
  std::uint32_t others[10] = {};
};
static_assert(sizeof(PidfdInfo) == 64);

constexpr unsigned kThread = O_EXCL;                            // PIDFD_THREAD
constexpr std::uint64_t kIds = 1;                               // PIDFD_INFO_PID
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);  // PIDFD_GET_INFO

}  // namespace

std::optional<pid_t> process_of(pid_t tid) {
  const UniqueFd thread(static_cast<int>(::syscall(SYS_pidfd_open, tid, kThread)));
  if (!thread.valid()) return std::nullopt;
  PidfdInfo info{.mask = kIds};
  if (::ioctl(thread.get(), kGetInfo, &info) != 0 || (info.mask & kIds) == 0 || info.tgid == 0)
    return std::nullopt;
  return static_cast<pid_t>(info.tgid);
}

}  // namespace coffer
