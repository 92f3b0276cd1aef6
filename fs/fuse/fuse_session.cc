#include "fs/fuse/fuse_session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <thread>

#include "fs/fuse/mount_table.h"
#include "fs/fuse/operations.h"
#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr unsigned kReadAheadKb = 1024;

struct SessionDelete {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};

struct LoopConfigDelete {
  void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
};

Result<void> check_mountpoint(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const int reason = errno;
    if (reason == ENOTCONN) {
      return Error{Code::kBusy, reason,
                   "a dead mount is at " + path + "; run: fusermount3 -u " + path};
    }
    return Error{Code::kMountPoint, reason, "mount point " + path};
  }
  if (!S_ISDIR(status.st_mode)) return Error{Code::kMountPoint, ENOTDIR, "mount point " + path};
  if (::access("/dev/fuse", F_OK) != 0) {
    return Error{Code::kUnsupported, errno, "/dev/fuse (load the kernel module: modprobe fuse)"};
  }
  if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    return Error{Code::kDenied, errno, "/dev/fuse; let root run: chmod 666 /dev/fuse"};
  }
  return {};
}

/// The kernel reads ahead 128 KiB of a FUSE file unless root says otherwise. By the kernel's table:
/// the mount itself must not be touched.
void raise_read_ahead(const std::string& mountpoint) {
  const auto mounted = find_mount(mountpoint);
  if (!mounted) return;
  std::ofstream setting("/sys/class/bdi/" + mounted->device + "/read_ahead_kb");
  setting << kReadAheadKb << '\n';
}

std::string joined_options(const MountOptions& options) {
  std::string text = "default_permissions,subtype=coffer,fsname=";
  for (const char letter : options.source) {
    if (letter == ',' || letter == '\\') text += '\\';
    text += letter;
  }
  if (options.read_only) text += ",ro";
  if (options.allow_other) text += ",allow_other";
  for (const std::string& option : options.extra) text += "," + option;
  return text;
}

}  // namespace

struct FuseSession::State {
  State(const MountOptions& how, Vfs& vfs, spdlog::logger& logger)
      : options(how), context{.vfs = vfs, .logger = logger} {}

  MountOptions options;
  FuseContext context;
  std::unique_ptr<fuse_session, SessionDelete> session;
  bool mounted = false;
};

FuseSession::FuseSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

FuseSession::~FuseSession() {
  if (state_->mounted) fuse_session_unmount(state_->session.get());
}

Result<std::unique_ptr<FuseSession>> FuseSession::mount(Vfs& vfs, const MountOptions& options,
                                                        spdlog::logger& logger) {
  TRY(check_mountpoint(options.mountpoint));
  auto state = std::make_unique<State>(options, vfs, logger);
  const std::string option_text = joined_options(options);
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  const bool added = fuse_opt_add_arg(&args, "coffer") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
                     fuse_opt_add_arg(&args, option_text.c_str()) == 0;
  if (added) {
    state->session.reset(
        fuse_session_new(&args, &fuse_operations(), sizeof(fuse_lowlevel_ops), &state->context));
  }
  fuse_opt_free_args(&args);
  if (state->session == nullptr) {
    return Error{Code::kInvalid, 0, "the mount options were not understood: " + option_text};
  }
  if (fuse_session_mount(state->session.get(), options.mountpoint.c_str()) != 0) {
    return Error{Code::kMountPoint, 0,
                 "could not mount at " + options.mountpoint + "; the line above says why"};
  }
  state->mounted = true;
  raise_read_ahead(options.mountpoint);
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(state)));
}

Result<void> FuseSession::serve() {
  fuse_session* const session = state_->session.get();
  if (fuse_set_signal_handlers(session) != 0) return Error{Code::kIo, errno, "signal handlers"};
  const std::unique_ptr<fuse_loop_config, LoopConfigDelete> config(fuse_loop_cfg_create());
  const unsigned threads = state_->options.threads != 0
                               ? state_->options.threads
                               : std::max(4U, std::thread::hardware_concurrency());
  fuse_loop_cfg_set_max_threads(config.get(), threads);
  fuse_loop_cfg_set_clone_fd(config.get(), 0);
  const int ended = fuse_session_loop_mt(session, config.get());
  fuse_remove_signal_handlers(session);
  fuse_session_unmount(session);
  state_->mounted = false;
  if (ended < 0) return Error{Code::kIo, -ended, "serving the mount"};
  return {};
}

}  // namespace coffer
