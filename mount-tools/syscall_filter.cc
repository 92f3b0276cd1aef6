#include "mount-tools/syscall_filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>

namespace coffer {
namespace {

/// What answers to requests are made of: looked for first where the kernel does not know by itself
/// that they are always allowed (before 5.11).
constexpr int kHot[] = {
    SCMP_SYS(read),  SCMP_SYS(write),       SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(futex), SCMP_SYS(pwrite64),    SCMP_SYS(openat), SCMP_SYS(close),
    SCMP_SYS(poll),  SCMP_SYS(ppoll),       SCMP_SYS(fstat),  SCMP_SYS(newfstatat),
    SCMP_SYS(fcntl), SCMP_SYS(sched_yield), SCMP_SYS(statx),  SCMP_SYS(clock_gettime),
};

/// The backing, the keystore (SQLite) and the audit log.
constexpr int kFiles[] = {
    SCMP_SYS(access),
    SCMP_SYS(chmod),
    SCMP_SYS(chown),
    SCMP_SYS(close_range),
    SCMP_SYS(creat),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fallocate),
    SCMP_SYS(fchdir),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents),
    SCMP_SYS(getdents64),
    SCMP_SYS(lchown),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(lseek),
    SCMP_SYS(lstat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    SCMP_SYS(open),
    SCMP_SYS(openat2),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(readahead),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(readv),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(rmdir),
    SCMP_SYS(splice),
    SCMP_SYS(stat),
    SCMP_SYS(statfs),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(syncfs),
    SCMP_SYS(truncate),
    SCMP_SYS(umask),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(utimensat),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(vmsplice),
    SCMP_SYS(chdir),
};

/// Memory, threads, time, and waiting.
constexpr int kProcess[] = {
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(mincore),
    SCMP_SYS(msync),
    SCMP_SYS(mlock),
    SCMP_SYS(mlock2),
    SCMP_SYS(munlock),
    SCMP_SYS(memfd_secret),
    SCMP_SYS(membarrier),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(eventfd2),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(inotify_init1),
    SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(getcpu),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getgroups),
    SCMP_SYS(getpgrp),
    SCMP_SYS(getpgid),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getpriority),
    SCMP_SYS(getrandom),
    SCMP_SYS(getresgid),
    SCMP_SYS(getresuid),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage),
    SCMP_SYS(getsid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(getxattr),
    SCMP_SYS(fgetxattr),
    SCMP_SYS(lgetxattr),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(setsid),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sysinfo),
    SCMP_SYS(times),
    SCMP_SYS(uname),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
};

/// The control socket, the system's log, and the databases of users and groups.
constexpr int kSockets[] = {
    SCMP_SYS(accept),      SCMP_SYS(accept4), SCMP_SYS(bind),        SCMP_SYS(connect),
    SCMP_SYS(getpeername), SCMP_SYS(listen),  SCMP_SYS(getsockname), SCMP_SYS(getsockopt),
    SCMP_SYS(recvfrom),    SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),    SCMP_SYS(sendmmsg),
    SCMP_SYS(sendmsg),     SCMP_SYS(sendto),  SCMP_SYS(setsockopt),  SCMP_SYS(shutdown),
};

/// No part of the daemon makes them, nor what it links: to start another program, to get at another
/// process, at the kernel, at what is mounted or at its keyrings.
constexpr int kHostile[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(acct),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
};

struct Release {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release>;

/// Collects what the library says of each rule; the first failure is kept.
class Rules {
 public:
  explicit Rules(scmp_filter_ctx filter) : filter_(filter) {}
  void set(scmp_filter_attr attribute, std::uint32_t value) {
    keep(::seccomp_attr_set(filter_, attribute, value));
  }
  void add(std::uint32_t action, std::span<const int> calls) {
    for (const int call : calls) keep(::seccomp_rule_add_array(filter_, action, call, 0, nullptr));
  }
  void act_if(std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments) {
    keep(::seccomp_rule_add_array(filter_, action, call, static_cast<unsigned>(arguments.size()),
                                  arguments.begin()));
  }
  void allow_if(int call, std::initializer_list<scmp_arg_cmp> arguments) {
    act_if(SCMP_ACT_ALLOW, call, arguments);
  }
  void first(std::span<const int> calls) {
    // Of order alone: where an architecture lacks one, nothing is lost.
    for (const int call : calls) (void)::seccomp_syscall_priority(filter_, call, 255);
  }
  [[nodiscard]] int failure() const { return failure_; }

 private:
  void keep(int outcome) {
    if (failure_ == 0) failure_ = outcome;
  }
  scmp_filter_ctx filter_;
  int failure_ = 0;
};

constexpr scmp_arg_cmp is(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}

/// Calls that are harmless with these arguments alone.
void add_conditions(Rules& rules) {
  // A thread and no process.
  rules.allow_if(SCMP_SYS(clone), {{0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD}});
  for (const int call : {SCMP_SYS(socket), SCMP_SYS(socketpair)})
    rules.allow_if(call, {is(0, AF_UNIX)});
  // To abort.
  rules.allow_if(SCMP_SYS(tgkill), {is(0, static_cast<std::uint64_t>(::getpid()))});
  // A thread's name; nothing that makes the process dumpable.
  rules.allow_if(SCMP_SYS(prctl), {is(0, PR_SET_NAME)});
  rules.allow_if(SCMP_SYS(prctl), {is(0, PR_GET_NAME)});
  // Its own limits, and only to read them.
  rules.allow_if(SCMP_SYS(prlimit64), {is(0, 0), is(2, 0)});
  // Whether a descriptor is a terminal, how much there is to read, and what a pidfd stands for
  // (PIDFD_GET_INFO, of which the size is a part): none that types into a terminal or alters a
  // file's flags.
  rules.allow_if(SCMP_SYS(ioctl), {is(1, TCGETS)});
  rules.allow_if(SCMP_SYS(ioctl), {is(1, FIONREAD)});
  rules.allow_if(SCMP_SYS(ioctl), {{1, SCMP_CMP_MASKED_EQ, 0xffff, 0xff0b}});
}

/// What holds for either filter.
void set_attributes(Rules& rules, bool logged) {
  rules.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  rules.set(SCMP_FLTATR_CTL_NNP, 1);
  rules.set(SCMP_FLTATR_CTL_TSYNC, 1);
  rules.set(SCMP_FLTATR_CTL_LOG, logged ? 1 : 0);
  // The daemon runs no code but its own: older kernels would slow it down for nothing.
  rules.set(SCMP_FLTATR_CTL_SSB, 1);
  rules.set(SCMP_FLTATR_CTL_OPTIMIZE, 2);
}

Result<void> load(const Filter& filter, const Rules& rules) {
  if (rules.failure() != 0) return errno_error(-rules.failure(), "rules for system calls");
  const int loaded = ::seccomp_load(filter.get());
  if (loaded == 0) return {};
  return Error{Code::kUnsupported, -loaded, "the kernel took no filter of system calls"};
}

/// TCP, and UDP to the servers of names: no other protocols, and nothing raw.
void add_network(Rules& rules) {
  constexpr std::uint64_t kTypes = 0xf;  // SOCK_TYPE_MASK: the rest are flags
  for (const std::uint64_t family : {AF_INET, AF_INET6}) {
    for (const std::uint64_t type : {SOCK_STREAM, SOCK_DGRAM}) {
      rules.allow_if(SCMP_SYS(socket),
                     {is(0, family), scmp_arg_cmp{1, SCMP_CMP_MASKED_EQ, kTypes, type}});
    }
  }
}

/// What is refused without a word in the kernel's log, for it is tried in good faith: clone3, whose
/// arguments a filter can't see, so that the C library falls back to clone for each thread; and
/// with a network, the resolver's question which addresses this machine has.
Result<void> refuse_quietly(bool network) {
  const Filter filter(::seccomp_init(SCMP_ACT_ALLOW));
  if (filter == nullptr) return Error{Code::kExhausted, 0, "seccomp"};
  Rules rules(filter.get());
  set_attributes(rules, false);
  rules.add(SCMP_ACT_ERRNO(ENOSYS), std::array{SCMP_SYS(clone3)});
  if (network) rules.act_if(SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), {is(0, AF_NETLINK)});
  return load(filter, rules);
}

}  // namespace

Result<void> filter_system_calls(bool network) {
  TRY(refuse_quietly(network));
  const Filter filter(::seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (filter == nullptr) return Error{Code::kExhausted, 0, "seccomp"};
  Rules rules(filter.get());
  set_attributes(rules, true);
  for (const std::span<const int> calls :
       {std::span<const int>(kHot), std::span<const int>(kFiles), std::span<const int>(kProcess),
        std::span<const int>(kSockets)}) {
    rules.add(SCMP_ACT_ALLOW, calls);
  }
  rules.add(SCMP_ACT_ALLOW, std::array{SCMP_SYS(clone3)});  // refused already
  rules.add(SCMP_ACT_KILL_PROCESS, kHostile);
  add_conditions(rules);
  if (network) {
    add_network(rules);
    rules.allow_if(SCMP_SYS(socket), {is(0, AF_NETLINK)});  // refused already
  }
  rules.first(kHot);
  return load(filter, rules);
}

}  // namespace coffer
