#include "fs/fuse/mount_device.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "fs/fuse/operations.h"

namespace coffer {
namespace {

/// Several requests, so that several threads answer one reader. Of a FUSE file it is 128 unless
/// root says otherwise.
constexpr unsigned kReadAheadKb = 4096;

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

Result<UniqueFd> mount_device(const MountOptions& options) {
  TRY(check_mountpoint(options.mountpoint));
  const std::string option_text = joined_options(options);
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  FuseSessionPtr session;
  const fuse_lowlevel_ops nothing{};
  if (fuse_opt_add_arg(&args, "coffer") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
      fuse_opt_add_arg(&args, option_text.c_str()) == 0) {
    session.reset(fuse_session_new(&args, &nothing, sizeof nothing, nullptr));
  }
  fuse_opt_free_args(&args);
  if (session == nullptr) {
    return Error{Code::kInvalid, 0, "the mount options were not understood: " + option_text};
  }
  if (fuse_session_mount(session.get(), options.mountpoint.c_str()) != 0) {
    return Error{Code::kMountPoint, 0,
                 "could not mount at " + options.mountpoint + "; the line above says why"};
  }
  UniqueFd device(::fcntl(fuse_session_fd(session.get()), F_DUPFD_CLOEXEC, 0));
  if (!device.valid()) {
    const int reason = errno;
    fuse_session_unmount(session.get());
    return errno_error(reason, "/dev/fuse");
  }
  // The session goes, what is mounted stays.
  return device;
}

void raise_read_ahead(const std::string& device) {
  std::ofstream setting("/sys/class/bdi/" + device + "/read_ahead_kb");
  setting << kReadAheadKb << '\n';
}

}  // namespace coffer
