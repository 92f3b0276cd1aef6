#include "mount-tools/daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

void detach() {
  ::setsid();
  if (::chdir("/") != 0) return;
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing.valid()) return;
  std::fflush(nullptr);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    ::dup2(nothing.get(), standard);
}

int wait_for_child(pid_t child, const UniqueFd& reader) {
  char byte = 0;
  ssize_t length = 0;
  do {
    length = ::read(reader.get(), &byte, 1);
  } while (length < 0 && errno == EINTR);
  if (length == 1) return 0;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

void harden_process() {
  ::prctl(PR_SET_DUMPABLE, 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::umask(0);
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    // The lowest number that is free is this one.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) std::abort();
  }
}

int run_in_background(const std::function<int(const std::function<void()>& ready)>& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    std::perror("coffer: pipe");
    return 1;
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) {
    std::perror("coffer: fork");
    return 1;
  }
  if (child > 0) {
    writer.reset();
    return wait_for_child(child, reader);
  }
  reader.reset();
  const int code = work([&writer] {
    detach();
    const char byte = 1;
    // A parent that was killed meanwhile is no reason to stop.
    [[maybe_unused]] const ssize_t told = ::write(writer.get(), &byte, 1);
    writer.reset();
  });
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace coffer
