#include "tests/support/keystore_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

namespace coffer::testing {
namespace {

constexpr auto kDeadline = std::chrono::seconds(60);
constexpr auto kStep = std::chrono::milliseconds(2);

}  // namespace

ChildProcess::ChildProcess(const std::function<bool()>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  UniqueFd wait_here(ends[0]);
  go_ = UniqueFd(ends[1]);
  pid_ = ::fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) {
    go_.reset();
    char byte = 0;
    if (::read(wait_here.get(), &byte, 1) != 1) ::_exit(2);
    ::_exit(body() ? 0 : 1);
  }
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::start() {
  if (::write(go_.get(), "g", 1) != 1) std::abort();
}

bool ChildProcess::succeeded() {
  int status = 0;
  if (::waitpid(std::exchange(pid_, -1), &status, 0) < 0) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kStep);
  }
  return true;
}

}  // namespace coffer::testing
