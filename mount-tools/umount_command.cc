#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fs/fuse/mount_table.h"
#include "keystore/base/unique_fd.h"
#include "keystore/cli/store_config.h"
#include "mount-tools/commands.h"
#include "mount-tools/control.h"
#include "mount-tools/fusermount.h"

namespace coffer {
namespace {

struct UmountOptions {
  std::string mountpoint;
  bool lazy = false;
};

/// The daemon behind a mount, if it answers.
pid_t daemon_of(const std::string& mountpoint) {
  const auto answer = ask_mount(control_path(mountpoint), R"({"verb":"status"})");
  if (!answer) return 0;
  const auto status = nlohmann::json::parse(*answer, nullptr, false);
  return status.is_object() ? status.value("pid", 0) : 0;
}

Result<void> unmount(const std::string& mountpoint, bool lazy) {
  if (::umount2(mountpoint.c_str(), lazy ? MNT_DETACH : 0) == 0) return {};
  if (errno == EPERM) return run_fusermount(mountpoint, lazy);
  if (errno == EBUSY) {
    return Error{Code::kBusy, 0,
                 mountpoint + " is in use; close what uses it (fuser -vm " + mountpoint + ")"};
  }
  return errno_error(errno, "unmounting " + mountpoint);
}

/// The daemon ends once everything is on record; whoever unmounts wants to know that it is.
void wait_for(const UniqueFd& daemon) {
  pollfd ended{.fd = daemon.get(), .events = POLLIN, .revents = 0};
  bool told = false;
  while (::poll(&ended, 1, 5000) == 0) {
    if (!told) std::fprintf(stderr, "Waiting for the daemon to finish writing.\n");
    told = true;
  }
}

Result<int> umount(const UmountOptions& options) {
  // Not resolved by the file system: its answer could be a dead mount's silence.
  std::string mountpoint = options.mountpoint;
  while (mountpoint.size() > 1 && mountpoint.back() == '/') mountpoint.pop_back();
  if (mountpoint.empty() || mountpoint[0] != '/' || !is_mounted(mountpoint))
    mountpoint = TRY(absolute_path(mountpoint));
  const auto mounted = find_mount(mountpoint);
  if (!mounted || mounted->type != "fuse.coffer") {
    return Error{Code::kNotFound, 0, "no coffer mount at " + mountpoint + "; see: coffer status"};
  }
  const pid_t pid = daemon_of(mountpoint);
  const UniqueFd daemon(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
  TRY(unmount(mountpoint, options.lazy));
  if (daemon.valid() && !options.lazy) wait_for(daemon);
  return 0;
}

}  // namespace

void add_umount_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand("umount", "Unmount, and wait until all is written");
  const auto options = std::make_shared<UmountOptions>();
  verb.add_option("MOUNTPOINT", options->mountpoint, "Where the store is mounted")->required();
  verb.add_flag("--lazy,-z", options->lazy, "Detach now, finish when nobody uses it any more");
  verb.callback([options, &chosen] { chosen.run = [options] { return umount(*options); }; });
}

}  // namespace coffer
