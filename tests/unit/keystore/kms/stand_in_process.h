#pragma once

#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coffer::testing {

/// A stand-in for somebody's server: a Python program that says one line of JSON once it listens,
/// and answers each line of its standard input by one. It ends with this object.
class StandInProcess {
 public:
  StandInProcess(const std::string& program, const std::vector<std::string>& arguments);
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
