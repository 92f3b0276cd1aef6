#pragma once

#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
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

/// What all stand-ins are told and asked. The program and its files end with this object.
class StandIn {
 public:
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  /// {"do": …}: what it answers. Throws if it refuses.
  nlohmann::json ask(const nlohmann::json& command) { return process_->ask(command); }
  /// The next `times` requests whose name (a path, an operation) holds `where` end so.
  void trouble(const std::string& kind, const std::string& where = "", int times = 1);
  /// Nothing goes wrong any more.
  void calm() { ask({{"do", "calm"}}); }
  void stop() { process_.reset(); }

  [[nodiscard]] std::string file(const std::string& name) const { return dir_.file(name); }
  /// A private file with this content.
  std::string write(const std::string& name, const std::string& content,
                    unsigned mode = 0600) const {
    return write_file(dir_, name, content, mode);
  }

 protected:
  StandIn() = default;
  ~StandIn() = default;

  /// Instead of what ran before; what it says when it listens.
  const nlohmann::json& run(std::vector<std::string> words);
  /// The requests since the last time whose `field` holds this text.
  std::vector<nlohmann::json> requests_whose(const char* field, const std::string& holds);
  [[nodiscard]] const nlohmann::json& beginning() const { return process_->beginning(); }

  TempDir dir_;

 private:
  std::optional<StandInProcess> process_;
};

}  // namespace coffer::testing
