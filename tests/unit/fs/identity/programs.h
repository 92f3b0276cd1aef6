#pragma once

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/crypto/digest.h"

namespace coffer::testing {

inline std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A copy of a program that does the same and is another file: `tail` stands at its end.
inline std::string copy_program(const std::string& program, const std::string& copy,
                                const std::string& tail) {
  std::ofstream file(copy, std::ios::binary);
  file << content_of(std::filesystem::canonical(program)) << tail;
  file.close();
  ::chmod(copy.c_str(), 0755);
  return copy;
}

inline std::string sha256_of(const std::string& path) {
  const std::string content = content_of(path);
  return to_hex(sha256(as_bytes(content)));
}

template <typename Condition>
bool wait_until(Condition&& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

/// A program that runs until this object goes.
class Program {
 public:
  explicit Program(
      std::vector<std::string> arguments, void (*prepare)() = [] {}) {
    pid_ = ::fork();
    if (pid_ == 0) {
      prepare();
      std::vector<char*> pointers;
      for (std::string& argument : arguments) pointers.push_back(argument.data());
      pointers.push_back(nullptr);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
  }
  ~Program() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// True once it executes the file of that name.
  [[nodiscard]] bool runs(const std::string& path) const {
    return wait_until([&] {
      std::error_code none;
      return std::filesystem::read_symlink("/proc/" + std::to_string(pid_) + "/exe", none) == path;
    });
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace coffer::testing
