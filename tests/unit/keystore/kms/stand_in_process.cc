#include "tests/unit/keystore/kms/stand_in_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "keystore/base/atomic_file.h"

namespace coffer::testing {
namespace {

constexpr const char* kPython = "/usr/bin/python3";
constexpr int kPatienceMs = 60'000;

}  // namespace

bool have_python(const std::string& modules) {
  const std::string line =
      std::string(kPython) + " -W ignore -c 'import " + modules + "' 2>/dev/null";
  return std::system(line.c_str()) == 0;
}

void set_variable(const char* name, const std::string& value) {
  if (value.empty()) {
    ::unsetenv(name);
  } else {
    ::setenv(name, value.c_str(), 1);
  }
}

std::string write_file(const TempDir& dir, const std::string& name, const std::string& content,
                       unsigned mode) {
  const std::string path = dir.file(name);
  if (!replace_file(path, as_bytes(content), 0600) || ::chmod(path.c_str(), mode) != 0)
    throw std::runtime_error("can't write " + path);
  return path;
}

StandInProcess::StandInProcess(std::vector<std::string> words) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  words.insert(words.begin(), {kPython, "-B"});
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::execv(kPython, pointers.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = ::fdopen(out[0], "r");
  beginning_ = nlohmann::json::parse(read_line());
}

StandInProcess::~StandInProcess() {
  ::close(to_);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  std::fclose(from_);
}

std::string StandInProcess::read_line() {
  // An answer is one line and has been read whole, so that nothing waits in the buffer.
  pollfd ready{.fd = ::fileno(from_), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, kPatienceMs) != 1) throw std::runtime_error("the stand-in does not answer");
  char* line = nullptr;
  std::size_t size = 0;
  const ssize_t length = ::getline(&line, &size, from_);
  const std::string text = length > 0 ? line : "";
  std::free(line);
  if (text.empty()) throw std::runtime_error("the stand-in has ended");
  return text;
}

nlohmann::json StandInProcess::ask(const nlohmann::json& command) {
  if (!write_all(to_, as_bytes(command.dump() + "\n"))) throw std::runtime_error("no stand-in");
  auto said = nlohmann::json::parse(read_line());
  if (!said.contains("ok")) throw std::runtime_error(command.dump() + ": " + said.dump());
  return said["ok"];
}

void StandIn::trouble(const std::string& kind, const std::string& where, int times) {
  ask({{"do", "trouble"}, {"kind", kind}, {"where", where}, {"times", times}});
}

const nlohmann::json& StandIn::run(std::vector<std::string> words) {
  stop();
  process_.emplace(std::move(words));
  return beginning();
}

std::vector<nlohmann::json> StandIn::requests_whose(const char* field, const std::string& holds) {
  std::vector<nlohmann::json> found;
  for (const auto& request : ask({{"do", "seen"}})) {
    if (request.at(field).get<std::string>().find(holds) != std::string::npos)
      found.push_back(request);
  }
  return found;
}

}  // namespace coffer::testing
