// The filter of system calls: what an intruder would do in the daemon ends it or fails, in any
// thread.

#include "mount-tools/syscall_filter.h"

#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <functional>
#include <thread>

#include "mount-tools/privileges.h"

namespace coffer {
namespace {

constexpr int kNoFilter = 90;

/// Does `work` behind the filter, in a child; its exit code, or -SIGNAL.
int filtered(const std::function<int()>& work, bool network = false) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_new_privileges() || !filter_system_calls(network)) ::_exit(kNoFilter);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/// The errno of a call, 0 if it worked.
int outcome_of(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  return ::syscall(number, a, b, c, d, 0, 0) == -1 ? errno : 0;
}

TEST(SyscallFilter, EndsWhoMakesAHostileCall) {
  for (const long number : {SYS_execve,
                            SYS_execveat,
                            SYS_ptrace,
                            SYS_process_vm_readv,
                            SYS_process_vm_writev,
                            SYS_bpf,
                            SYS_perf_event_open,
                            SYS_userfaultfd,
                            SYS_kexec_load,
                            SYS_init_module,
                            SYS_finit_module,
                            SYS_keyctl,
                            SYS_add_key,
                            SYS_mount,
                            SYS_umount2,
                            SYS_pivot_root,
                            SYS_chroot,
                            SYS_setns,
                            SYS_unshare,
                            SYS_open_by_handle_at,
                            SYS_reboot,
                            SYS_move_mount,
                            SYS_pidfd_getfd}) {
    EXPECT_EQ(filtered([number] { return outcome_of(number); }), -SIGSYS) << number;
  }
}

TEST(SyscallFilter, TheUnexpectedIsNotThere) {
  struct Call {
    const char* what;
    long number, a, b, c;
  };
  const rlimit none{0, 0};
  const auto limit = reinterpret_cast<std::intptr_t>(&none);
  char letter = 'x';
  const auto typed = reinterpret_cast<std::intptr_t>(&letter);
  for (const Call& call : {
           Call{"fork", SYS_clone, SIGCHLD, 0, 0},
           Call{"clone3", SYS_clone3, 0, 0, 0},
           Call{"the net", SYS_socket, AF_INET, SOCK_STREAM, 0},
           Call{"the net by IPv6", SYS_socket, AF_INET6, SOCK_STREAM, 0},
           Call{"netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0},
           Call{"packets", SYS_socket, AF_PACKET, SOCK_RAW, 0},
           Call{"dumpable again", SYS_prctl, PR_SET_DUMPABLE, 1, 0},
           Call{"another's limits", SYS_prlimit64, 1, RLIMIT_CORE, 0},
           Call{"limits of its own", SYS_prlimit64, 0, RLIMIT_CORE, limit},
           Call{"typing into a terminal", SYS_ioctl, 0, TIOCSTI, typed},
           Call{"a signal to another", SYS_kill, 1, SIGKILL, 0},
           Call{"a signal to another's thread", SYS_tgkill, 1, 1, SIGKILL},
           Call{"another user", SYS_setuid, 65534, 0, 0},
           Call{"capabilities", SYS_capset, 0, 0, 0},
           Call{"io_uring", SYS_io_uring_setup, 1, 0, 0},
           Call{"a personality", SYS_personality, 0xffffffff, 0, 0},
           Call{"fanotify", SYS_fanotify_init, 0, 0, 0},
           Call{"another filter", SYS_seccomp, 0, 0, 0},
       }) {
    EXPECT_EQ(filtered([&call] { return outcome_of(call.number, call.a, call.b, call.c); }), ENOSYS)
        << call.what;
  }
}

TEST(SyscallFilter, LeavesTheDaemonItsWork) {
  EXPECT_EQ(filtered([] {
              int ends[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
              if (::write(ends[0], "x", 1) != 1) return 2;
              std::atomic<bool> ran = false;
              std::thread([&ran] { ran = true; }).join();
              rlimit limit{};
              if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 3;
              return ran ? 0 : 4;
            }),
            0);
}

/// For a store whose master key is asked over the network, and no more than that takes.
TEST(SyscallFilter, LeavesTheNetToWhoNeedsIt) {
  const auto socket_of = [](int family, int type) {
    return filtered([=] { return outcome_of(SYS_socket, family, type); }, true);
  };
  for (const int family : {AF_INET, AF_INET6}) {
    EXPECT_EQ(socket_of(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), 0);
    EXPECT_EQ(socket_of(family, SOCK_DGRAM | SOCK_CLOEXEC), 0);
    EXPECT_EQ(socket_of(family, SOCK_RAW), ENOSYS);
    EXPECT_EQ(socket_of(family, SOCK_SEQPACKET), ENOSYS);
  }
  EXPECT_EQ(socket_of(AF_NETLINK, SOCK_RAW), EAFNOSUPPORT);
  EXPECT_EQ(socket_of(AF_PACKET, SOCK_RAW), ENOSYS);
  EXPECT_EQ(socket_of(AF_UNIX, SOCK_STREAM), 0);
  EXPECT_EQ(filtered([] { return outcome_of(SYS_execve); }, true), -SIGSYS);
}

TEST(SyscallFilter, HoldsForThreadsThatRanBefore) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::atomic<bool> go = false;
    std::thread before([&go] {
      while (!go) ::sched_yield();
      ::syscall(SYS_setns, -1, 0);
    });
    if (!forbid_new_privileges() || !filter_system_calls(false)) ::_exit(kNoFilter);
    go = true;
    before.join();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}

/// The 32-bit entry, by which numbers mean other calls.
TEST(SyscallFilter, EndsWhoUsesAnotherArchitecture) {
#ifdef __x86_64__
  EXPECT_EQ(filtered([] {
              long answer = 20;  // getpid
              __asm__ volatile("int $0x80" : "+a"(answer) : : "memory");
              return 0;
            }),
            -SIGSYS);
#else
  GTEST_SKIP() << "x86-64 alone has one";
#endif
}

}  // namespace
}  // namespace coffer
