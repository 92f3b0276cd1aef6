#include "mount-tools/mounter.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "fs/fuse/mount_table.h"
#include "mount-tools/fusermount.h"
#include "mount-tools/privileges.h"

namespace coffer {
namespace {

constexpr char kMount = 'm';
constexpr char kRaiseReadAhead = 'r';
constexpr char kUnmount = 'u';
constexpr std::size_t kLongestContext = 8 * 1024;

/// One message: a fixed part, words, and a descriptor. Between two copies of one program, so no
/// encoding is needed.
struct Fixed {
  bool ok = false;
  Code code = Code::kIo;
  int errno_value = 0;
};

/// What sendmsg and recvmsg take, and room for one descriptor.
struct Message {
  Message(void* fixed, void* words, std::size_t word_count)
      : parts{{{fixed, sizeof(Fixed)}, {words, word_count}}} {
    header.msg_iov = parts.data();
    header.msg_iovlen = parts.size();
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  std::array<iovec, 2> parts;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
};

void answer(int socket, const Result<UniqueFd>& outcome) {
  Fixed fixed{.ok = outcome.ok()};
  std::string words;
  if (!outcome) {
    fixed.code = outcome.error().code;
    fixed.errno_value = outcome.error().errno_value;
    words = outcome.error().context.substr(0, kLongestContext);
  }
  Message message(&fixed, words.data(), words.size());
  if (outcome && outcome->valid()) {
    cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = outcome->get();
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  } else {
    message.header.msg_control = nullptr;
    message.header.msg_controllen = 0;
  }
  (void)::sendmsg(socket, &message.header, MSG_NOSIGNAL);
}

Result<UniqueFd> receive_answer(int socket) {
  Fixed fixed;
  std::array<char, kLongestContext> words{};
  Message message(&fixed, words.data(), words.size());
  ssize_t length = 0;
  do {
    length = ::recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < static_cast<ssize_t>(sizeof fixed)) {
    return Error{Code::kIo, 0, "the process that mounts and unmounts is gone"};
  }
  if (!fixed.ok) {
    return Error{fixed.code, fixed.errno_value,
                 std::string(words.data(), static_cast<std::size_t>(length) - sizeof fixed)};
  }
  const cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  if (part == nullptr || part->cmsg_type != SCM_RIGHTS) return UniqueFd();
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
  return UniqueFd(fd);
}

/// Whoever ends the daemon by a signal to all of its group or service wants it to unmount first.
void leave_ending_to_the_daemon() {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) ::signal(signal, SIG_IGN);
}

void leave_terminal() {
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    ::dup2(nothing.get(), standard);
}

void note_end(int /*signal*/) {}

/// By which the kernel gives up on a FUSE connection: answers all who wait for it, and who come
/// later, with an error. Invalid if it can't be had.
UniqueFd open_abort(const std::string& device) {
  const std::string name = device.substr(device.find(':') + 1) + "/abort";
  UniqueFd found(::open(("/sys/fs/fuse/connections/" + name).c_str(), O_WRONLY | O_CLOEXEC));
  if (found.valid()) return found;
  // Where it is not mounted: of our own, and nowhere.
  const UniqueFd filesystem(::fsopen("fusectl", FSOPEN_CLOEXEC));
  if (!filesystem.valid() ||
      ::fsconfig(filesystem.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return {};
  const UniqueFd top(::fsmount(filesystem.get(), FSMOUNT_CLOEXEC, 0));
  return UniqueFd(::openat(top.get(), name.c_str(), O_WRONLY | O_CLOEXEC));
}

/// The other side, in the process of its own.
class Work {
 public:
  Work(UniqueFd socket, const MountOptions& options)
      : socket_(std::move(socket)), options_(options) {}

  void run() {
    hear_of_the_daemons_end();
    char request = 0;
    while (is_asked() && ::read(socket_.get(), &request, 1) == 1) {
      if (request == kMount) answer(socket_.get(), mount());
      if (request == kRaiseReadAhead) answer(socket_.get(), raise_read_ahead());
      if (request == kUnmount) answer(socket_.get(), unmount());
    }
    if (daemon_ended_) give_up_on_connection();
  }

 private:
  /// Its first thread's, to be exact: another may be in the kernel for good, waiting there for
  /// pages that the daemon was to read. It has the device open, and the socket.
  static void hear_of_the_daemons_end() {
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &end, nullptr);
    struct sigaction action {};
    action.sa_handler = note_end;
    ::sigaction(SIGUSR1, &action, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGUSR1);
  }

  /// False if it never will be again.
  bool is_asked() {
    pollfd polled{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    sigset_t none;
    sigemptyset(&none);
    while (::ppoll(&polled, 1, nullptr, &none) < 0) {
      if (errno != EINTR) return false;
      // The others are ignored.
      daemon_ended_ = true;
      return false;
    }
    return true;
  }

  void give_up_on_connection() const {
    if (!abort_.valid()) return;
    [[maybe_unused]] const ssize_t told = ::write(abort_.get(), "1", 1);
  }

  Result<UniqueFd> mount() {
    UniqueFd device = TRY(mount_device(options_));
    mounted_ = find_mount(options_.mountpoint);
    if (mounted_.has_value()) abort_ = open_abort(mounted_->device);
    leave_terminal();
    // Without CAP_SYS_ADMIN fusermount3 will be needed, and what it needs.
    if (has_capability(CAP_SYS_ADMIN))
      (void)give_up_privileges(std::array{CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH});
    return device;
  }

  Result<UniqueFd> raise_read_ahead() const {
    if (mounted_.has_value()) coffer::raise_read_ahead(mounted_->device);
    return UniqueFd();
  }

  Result<UniqueFd> unmount() {
    const auto there = find_mount(options_.mountpoint);
    if (!there || !mounted_ || there->device != mounted_->device) {
      return Error{Code::kMoved, 0, "the mount is not at " + options_.mountpoint + " any more"};
    }
    if (::umount2(options_.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
      return UniqueFd();
    if (errno != EPERM) return errno_error(errno, "unmounting " + options_.mountpoint);
    TRY(run_fusermount(options_.mountpoint, true));
    return UniqueFd();
  }

  UniqueFd socket_;
  const MountOptions& options_;
  std::optional<MountedFilesystem> mounted_;
  UniqueFd abort_;
  bool daemon_ended_ = false;
};

/// Nothing else of the daemon's stays open here: no pipe or file outlives it by that.
UniqueFd close_all_but(UniqueFd kept) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (kept.get() != kFirst) ::dup3(kept.release(), kFirst, O_CLOEXEC);
  (void)kept.release();
  ::close_range(kFirst + 1, ~0U, 0);
  return UniqueFd(kFirst);
}

}  // namespace

Result<Mounter> Mounter::start(const MountOptions& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t process = ::fork();
  if (process < 0) return errno_error(errno, "fork");
  if (process > 0) return Mounter(std::move(ours), process);
  try {
    leave_ending_to_the_daemon();
    ::prctl(PR_SET_NAME, "coffer-mounter");
    (void)ours.release();
    Work(close_all_but(std::move(theirs)), options).run();
  } catch (const std::exception&) {
    ::_exit(1);
  }
  ::_exit(0);
}

Mounter::Mounter(Mounter&& other) noexcept
    : socket_(std::move(other.socket_)), process_(std::exchange(other.process_, -1)) {}

Mounter::~Mounter() {
  socket_.reset();
  while (process_ > 0 && ::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<UniqueFd> Mounter::mount() {
  UniqueFd device = TRY(ask(kMount));
  if (!device.valid()) return Error{Code::kIo, 0, "/dev/fuse was not passed on"};
  return device;
}

Result<void> Mounter::raise_read_ahead() {
  TRY(ask(kRaiseReadAhead));
  return {};
}

Result<void> Mounter::unmount() {
  TRY(ask(kUnmount));
  return {};
}

Result<UniqueFd> Mounter::ask(char request) {
  if (::send(socket_.get(), &request, 1, MSG_NOSIGNAL) != 1) {
    return Error{Code::kIo, errno, "the process that mounts and unmounts is gone"};
  }
  return receive_answer(socket_.get());
}

}  // namespace coffer
