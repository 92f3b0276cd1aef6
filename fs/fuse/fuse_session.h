#pragma once

#include <spdlog/logger.h>

#include <functional>
#include <memory>

#include "fs/vfs/vfs.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

class RequestSource;

/// A Vfs at work for the kernel, from the mount to its end. One per process.
class FuseSession {
 public:
  /// Takes the mount away: called once, when nobody answers any more and it still is there.
  using Unmount = std::function<void()>;

  /// Over a device that `mount_device` gave; what the kernel can do is agreed on with it.
  /// `threads`: 0 for as many as processors, at least 4. `vfs` and `logger` outlive the session.
  static Result<std::unique_ptr<FuseSession>> begin(Vfs& vfs, UniqueFd device, unsigned threads,
                                                    spdlog::logger& logger, Unmount unmount);
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
  void answer_until_dropped(RequestSource& requests);
  void end();
  std::unique_ptr<State> state_;
};

}  // namespace coffer
