#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace coffer::testing {

/// A process that has done `prepare` and then waits, to be looked at, until this object goes.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<bool()>& prepare) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    pid_ = ::fork();
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
  pid_t pid_ = -1;
  bool ready_ = false;
};

}  // namespace coffer::testing
