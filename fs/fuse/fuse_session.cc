#include "fs/fuse/fuse_session.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>

#include "fs/fuse/lock_operations.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/request_loop.h"
#include "keystore/base/mutex.h"

namespace coffer {
namespace {

class SessionRequests : public RequestSource {
 public:
  SessionRequests(fuse_session* session, FileLocks& locks) : session_(session), locks_(locks) {}
  [[nodiscard]] int fd() const override { return fuse_session_fd(session_); }
  int receive(fuse_buf& buffer) override {
    const int got = fuse_session_receive_buf(session_, &buffer);
    if (got > 0) end_locks(buffer, locks_);
    return got;
  }
  void process(const fuse_buf& buffer) override { fuse_session_process_buf(session_, &buffer); }

 private:
  fuse_session* session_;
  FileLocks& locks_;
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

/// Answers the kernel's first request, which it made when it mounted: what both sides can do.
Result<void> negotiate(fuse_session* session) {
  fuse_buf request{};
  int got = 0;
  do {
    got = fuse_session_receive_buf(session, &request);
  } while (got == -EINTR);
  if (got > 0) fuse_session_process_buf(session, &request);
  std::free(request.mem);  // NOLINT(cppcoreguidelines-no-malloc): libfuse's
  if (got > 0 && fuse_session_exited(session) == 0) return {};
  return Error{Code::kIo, got < 0 ? -got : 0, "the kernel and libfuse did not agree on the mount"};
}

}  // namespace

struct FuseSession::State {
  State(Vfs& vfs, spdlog::logger& logger, unsigned how_many, Unmount how)
      : context{.vfs = vfs, .logger = logger}, threads(how_many), unmount(std::move(how)) {}

  FuseContext context;
  unsigned threads;
  Unmount unmount;
  FuseSessionPtr session;
  bool mounted = false;
  Mutex loop_mutex;
  RequestLoop* loop GUARDED_BY(loop_mutex) = nullptr;  // while it runs
};

FuseSession::FuseSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

FuseSession::~FuseSession() {
  end();
  if (state_->session != nullptr) state_->context.vfs.set_page_cache(nullptr);
}

Result<std::unique_ptr<FuseSession>> FuseSession::begin(Vfs& vfs, UniqueFd device, unsigned threads,
                                                        spdlog::logger& logger, Unmount unmount) {
  if (threads == 0) threads = std::max(4U, std::thread::hardware_concurrency());
  auto state = std::make_unique<State>(vfs, logger, threads, std::move(unmount));
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  if (fuse_opt_add_arg(&args, "coffer") == 0) {
    state->session.reset(
        fuse_session_new(&args, &fuse_operations(), sizeof(fuse_lowlevel_ops), &state->context));
  }
  fuse_opt_free_args(&args);
  // By this name libfuse takes what is mounted already; the session closes the descriptor.
  const std::string name = "/dev/fd/" + std::to_string(device.get());
  if (state->session == nullptr || fuse_session_mount(state->session.get(), name.c_str()) != 0) {
    if (state->unmount) {
      device.reset();
      state->unmount();
    }
    return Error{Code::kIo, 0, "libfuse did not take the mount"};
  }
  device.release();
  state->mounted = true;
  vfs.set_page_cache(
      [session = state->session.get(), context = &state->context](InodeId inode, Vfs::Kept what) {
        const off_t from = what == Vfs::Kept::kAttributes ? -1 : 0;
        (void)fuse_lowlevel_notify_inval_inode(session, inode.value, from, 0);
        if (what == Vfs::Kept::kCopies) context->buffers.wipe_idle();
      });
  std::unique_ptr<FuseSession> session(new FuseSession(std::move(state)));
  TRY(negotiate(session->state_->session.get()));
  return session;
}

Result<void> FuseSession::serve() {
  fuse_session* const session = state_->session.get();
  const int flags = ::fcntl(fuse_session_fd(session), F_GETFL);
  if (::fcntl(fuse_session_fd(session), F_SETFL, flags | O_NONBLOCK) != 0)
    return Error{Code::kIo, errno, "/dev/fuse"};
  SessionRequests requests(session, state_->context.vfs.file_locks());
  RequestLoop loop(requests, state_->threads);
  const auto set_loop = [this](RequestLoop* running) {
    MutexLock lock(state_->loop_mutex);
    state_->loop = running;
  };
  set_loop(&loop);
  const int ended = [&] {
    const StopSignals signals(loop);
    const int outcome = loop.run();
    set_loop(nullptr);
    if (outcome == 0) answer_until_dropped(requests);
    return outcome;
  }();
  end();
  if (ended < 0) return Error{Code::kIo, -ended, "serving the mount"};
  return {};
}

void FuseSession::answer_until_dropped(RequestSource& requests) {
  // Who has pages dropped waits for reads of them; were those never answered, he would for ever.
  RequestLoop loop(requests, state_->threads);
  std::thread waiter([&] {
    state_->context.vfs.end_page_cache();
    loop.stop();
  });
  (void)loop.run();
  waiter.join();
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

void FuseSession::end() {
  if (!std::exchange(state_->mounted, false)) return;
  // Whoever waits for a lock is let go while there is a session to answer by.
  state_->context.vfs.file_locks().end();
  const int device = fuse_session_fd(state_->session.get());
  pollfd polled{.fd = device, .events = 0, .revents = 0};
  const bool gone = ::poll(&polled, 1, 0) == 1 && (polled.revents & POLLERR) != 0;
  // Nobody answers any more, so the device is closed before anything is unmounted, which might ask
  // for an answer; and whoever waits in the kernel for pages to be dropped is let go by the end of
  // both. The number stays taken until the session goes.
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (nothing.valid()) ::dup3(nothing.get(), device, O_CLOEXEC);
  if (!gone && state_->unmount) state_->unmount();
}

}  // namespace coffer
