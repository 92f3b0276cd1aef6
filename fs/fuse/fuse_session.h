#pragma once

#include <spdlog/logger.h>

#include <memory>
#include <string>
#include <vector>

#include "fs/vfs/vfs.h"

namespace coffer {

/// How a filesystem is mounted.
struct MountOptions {
  std::string mountpoint;
  std::string source;  ///< shown as the device in mount tables
  bool read_only = false;
  bool allow_other =
      false;  ///< users other than the one who mounts may come in (grants still decide)
  std::vector<std::string> extra;  ///< options for the kernel's mount: nodev, noexec, …
  unsigned threads = 0;            ///< 0: as many as processors, at least 4
};

/// A FUSE mount of a Vfs: from mount(2) to unmount. One per process.
class FuseSession {
 public:
  /// Mounts. kMountPoint, kBusy, kDenied, kUnsupported (no /dev/fuse). `vfs` and `logger` outlive
  /// the session.
  static Result<std::unique_ptr<FuseSession>> mount(Vfs& vfs, const MountOptions& options,
                                                    spdlog::logger& logger);
  /// Unmounts if it still is.
  ~FuseSession();
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  /// Answers requests until the filesystem is unmounted, or SIGTERM, SIGINT or SIGHUP arrives.
  Result<void> serve();

  // After Vfs::lock, from a thread that answers no requests.
  /// What was read and written leaves no trace in buffers.
  void wipe_buffers();
  /// Has the kernel forget these names, and what it knows by them.
  void forget_names(const std::vector<Place>& places);

 private:
  struct State;
  explicit FuseSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace coffer
