#pragma once

#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>

namespace coffer::testing {

/// A process that has done `prepare` and then waits, to be looked at, until this object goes.
class ChildProcess {
 public:
  /// `pid`: which number it is to have, if not any. Only root may ask for one.
  explicit ChildProcess(const std::function<bool()>& prepare, pid_t pid = 0) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    pid_ = pid == 0 ? ::fork() : fork_as(pid);
    if (pid_ == 0) {
      const char done = prepare() ? 'y' : 'n';
      if (::write(ends[1], &done, 1) != 1) ::_exit(1);
      while (true) ::pause();
    }
    ::close(ends[1]);
    char done = 'n';
    ready_ = ::read(ends[0], &done, 1) == 1 && done == 'y';
    ::close(ends[0]);
  }
  ~ChildProcess() { end(); }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Ends it and waits until it is gone.
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  static pid_t fork_as(pid_t pid) {
    clone_args args{};
    args.exit_signal = SIGCHLD;
    args.set_tid = reinterpret_cast<std::uint64_t>(&pid);
    args.set_tid_size = 1;
    return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  }

  pid_t pid_ = -1;
  bool ready_ = false;
};

}  // namespace coffer::testing
