#pragma once

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <spdlog/logger.h>

#include <memory>

#include "fs/content/scratch_pool.h"
#include "fs/vfs/vfs.h"

namespace coffer {

/// What the callbacks work on; libfuse hands it to them as the session's user data.
struct FuseContext {
  Vfs& vfs;
  spdlog::logger& logger;
  /// What reads are decrypted into and answered from. The one that was used last is taken first,
  /// and is still in a processor's cache.
  ScratchPool buffers = {};
};

struct FuseSessionDelete {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using FuseSessionPtr = std::unique_ptr<fuse_session, FuseSessionDelete>;

/// The callbacks. Each runs its Vfs operation under one noexcept frame that answers the request
/// exactly once.
const fuse_lowlevel_ops& fuse_operations();

}  // namespace coffer
