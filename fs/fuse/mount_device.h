#pragma once

#include <string>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// How a filesystem is mounted.
struct MountOptions {
  std::string mountpoint;
  std::string source;  ///< shown as the device in mount tables
  bool read_only = false;
  bool allow_other =
      false;  ///< users other than the one who mounts may come in (grants still decide)
  std::vector<std::string> extra;  ///< options for the kernel's mount: nodev, noexec, …
};

/// Mounts, and gives the descriptor that the kernel's requests come from; the mount is dead when
/// all its copies are closed. kMountPoint, kBusy, kDenied, kUnsupported (no /dev/fuse). For a
/// process that ends soon: libfuse's copy of the mount point's name is never freed.
Result<UniqueFd> mount_device(const MountOptions& options);

/// Has the kernel read further ahead in the files of a mount, where this process may say so.
/// `device` as the kernel's mount table has it. Once the session has begun: that sets it back.
void raise_read_ahead(const std::string& device);

}  // namespace coffer
