#pragma once

#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// True if Python has these modules ("cryptography").
bool have_python(const std::string& modules);
/// Sets a variable of the environment, or unsets it if the value is empty.
void set_variable(const char* name, const std::string& value);
/// Makes a file with this content there; its path.
std::string write_file(const TempDir& dir, const std::string& name, const std::string& content,
                       unsigned mode = 0600);

/// A stand-in for somebody's server: a Python program that says one line of JSON once it listens,
/// and answers each line of its standard input by one. It ends with this object.
class StandInProcess {
 public:
  /// `words`: what follows `python3 -B`, the program first of all.
  explicit StandInProcess(std::vector<std::string> words);
  ~StandInProcess();
  StandInProcess(const StandInProcess&) = delete;
  StandInProcess& operator=(const StandInProcess&) = delete;

  /// What it said when it began to listen.
  [[nodiscard]] const nlohmann::json& beginning() const { return beginning_; }
  /// {"do": …}: what it answers. Throws if it refuses.
  nlohmann::json ask(const nlohmann::json& command);

 private:
  std::string read_line();

  pid_t pid_ = -1;
  int to_ = -1;
  std::FILE* from_ = nullptr;
  nlohmann::json beginning_;
};

}  // namespace coffer::testing
