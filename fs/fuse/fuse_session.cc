#include "fs/fuse/fuse_session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <thread>
#include <utility>

#include "fs/fuse/mount_table.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/request_loop.h"
#include "keystore/base/atomic_file.h"
#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr unsigned kReadAheadKb = 1024;

struct SessionDelete {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};

class SessionRequests : public RequestSource {
 public:
  explicit SessionRequests(fuse_session* session) : session_(session) {}
  [[nodiscard]] int fd() const override { return fuse_session_fd(session_); }
  int receive(fuse_buf& buffer) override { return fuse_session_receive_buf(session_, &buffer); }
  void process(const fuse_buf& buffer) override { fuse_session_process_buf(session_, &buffer); }

 private:
  fuse_session* session_;
};

std::atomic<RequestLoop*> stopped_by_signals = nullptr;

void stop_loop(int /*signal*/) {
  if (RequestLoop* const loop = stopped_by_signals.load()) loop->stop();
}

/// Not SIG_IGN: who was started with that keeps it.
void ignore(int /*signal*/) {}

/// As long as it lives, the signals that ask a program to end stop the loop, where nobody handles
/// them yet, and a pipe that nobody reads is an error and no end.
class StopSignals {
 public:
  explicit StopSignals(RequestLoop& loop) {
    stopped_by_signals = &loop;
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) replace(signal, SIG_DFL, stop_loop);
    replace(SIGPIPE, SIG_DFL, ignore);
  }
  ~StopSignals() {
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) replace(signal, stop_loop, SIG_DFL);
    replace(SIGPIPE, ignore, SIG_DFL);
    stopped_by_signals = nullptr;
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  using Handler = void (*)(int);
  static void replace(int signal, Handler present, Handler next) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler != present) return;
    action.sa_handler = next;
    action.sa_flags |= SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
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
  State(MountOptions how, Vfs& vfs, spdlog::logger& logger)
      : options(std::move(how)), context{.vfs = vfs, .logger = logger} {}

  MountOptions options;
  FuseContext context;
  std::unique_ptr<fuse_session, SessionDelete> session;
  bool mounted = false;
  Mutex loop_mutex;
  RequestLoop* loop GUARDED_BY(loop_mutex) = nullptr;  // while it runs
};

FuseSession::FuseSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

FuseSession::~FuseSession() {
  // Whoever waits in the kernel for pages to be dropped is let go by that.
  if (state_->mounted) fuse_session_unmount(state_->session.get());
  if (state_->session != nullptr) state_->context.vfs.set_page_cache(nullptr);
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
  vfs.set_page_cache([session = state->session.get(), context = &state->context](InodeId inode) {
    (void)fuse_lowlevel_notify_inval_inode(session, inode.value, 0, 0);
    context->buffers.wipe_idle();  // they may hold the same
  });
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(state)));
}

Result<void> FuseSession::serve() {
  fuse_session* const session = state_->session.get();
  const int flags = ::fcntl(fuse_session_fd(session), F_GETFL);
  if (::fcntl(fuse_session_fd(session), F_SETFL, flags | O_NONBLOCK) != 0)
    return Error{Code::kIo, errno, "/dev/fuse"};
  const unsigned threads = state_->options.threads != 0
                               ? state_->options.threads
                               : std::max(4U, std::thread::hardware_concurrency());
  SessionRequests requests(session);
  RequestLoop loop(requests, threads);
  const auto set_loop = [this](RequestLoop* running) {
    MutexLock lock(state_->loop_mutex);
    state_->loop = running;
  };
  set_loop(&loop);
  const int ended = [&loop] {
    const StopSignals signals(loop);
    return loop.run();
  }();
  set_loop(nullptr);
  fuse_session_unmount(session);
  state_->mounted = false;
  if (ended < 0) return Error{Code::kIo, -ended, "serving the mount"};
  return {};
}

void FuseSession::wipe_buffers() {
  state_->context.buffers.wipe_idle();
  MutexLock lock(state_->loop_mutex);
  if (state_->loop != nullptr) state_->loop->wipe_requests();
}

void FuseSession::forget_names(const std::vector<Place>& places) {
  for (const Place& place : places) {
    (void)fuse_lowlevel_notify_inval_entry(state_->session.get(), place.parent.value,
                                           place.name.data(), place.name.size());
  }
}

}  // namespace coffer
