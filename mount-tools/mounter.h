#pragma once

#include <sys/types.h>

#include "fs/fuse/mount_device.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// A process of its own that mounts and unmounts for a daemon, which gives up the right to do so
/// itself. All it can be asked for is this one mount. It ends with the daemon, and does not unmount
/// then: after a crash a dead mount keeps programs from writing plaintext into the bare directory.
/// But it sees to it that whoever waits for the daemon meets an error: a thread of it that waits in
/// the kernel for pages would keep the device from being closed, and itself from ending.
class Mounter {
 public:
  /// Starts it. To be called before there are threads or secrets, which it must not get.
  static Result<Mounter> start(const MountOptions& options);
  Mounter(Mounter&& other) noexcept;
  Mounter& operator=(Mounter&&) = delete;
  /// Waits until it has ended.
  ~Mounter();

  /// As `mount_device` does.
  Result<UniqueFd> mount();
  /// Of the mount, where the right to do so is left. Once its session has begun.
  Result<void> raise_read_ahead();
  /// Lazily: whoever uses the mount still is cut off by the device's end. kMoved if something else
  /// is mounted there by now.
  Result<void> unmount();

 private:
  Mounter(UniqueFd socket, pid_t process) : socket_(std::move(socket)), process_(process) {}
  Result<UniqueFd> ask(char request);

  UniqueFd socket_;
  pid_t process_;
};

}  // namespace coffer
