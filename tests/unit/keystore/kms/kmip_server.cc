#include "tests/unit/keystore/kms/kmip_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "keystore/base/atomic_file.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer::testing {
namespace {

constexpr const char* kPython = "/usr/bin/python3";
constexpr int kPatienceMs = 60'000;

void forget_settings() {
  for (const char* const name :
       {"COFFER_KMIP_SERVER", "COFFER_KMIP_CA", "COFFER_KMIP_PIN_SHA256", "COFFER_KMIP_CLIENT_CERT",
        "COFFER_KMIP_CLIENT_KEY", "COFFER_KMIP_USER", "COFFER_KMIP_PASSWORD_FILE",
        "COFFER_KMIP_CONFIG"}) {
    ::unsetenv(name);
  }
}

}  // namespace

bool have_kmip_server() {
  static const bool have =
      std::system((std::string(kPython) + " -W ignore -c 'import kmip.services.server' 2>/dev/null")
                      .c_str()) == 0;
  return have;
}

KmipServer::KmipServer(const std::vector<std::string>& options) {
  start(options);
  forget_settings();
  set_variable("COFFER_KMIP_SERVER", host());
  set_variable("COFFER_KMIP_CA", file("ca.pem"));
  use_certificate("node");
}

KmipServer::~KmipServer() {
  stop();
  forget_settings();
}

void KmipServer::use_certificate(const std::string& name) {
  set_variable("COFFER_KMIP_CLIENT_CERT", file(name + ".pem"));
  set_variable("COFFER_KMIP_CLIENT_KEY", file(name + ".key"));
}

void KmipServer::start(const std::vector<std::string>& options) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  std::vector<std::string> words = {kPython,
                                    "-B",
                                    "-W",
                                    "ignore",
                                    COFFER_KMIP_SERVER,
                                    dir_.path(),
                                    "--port",
                                    std::to_string(port_)};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::execv(kPython, arguments.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = ::fdopen(out[0], "r");
  const auto said = nlohmann::json::parse(read_line());
  port_ = said.at("port");
  pin_ = said.at("pin");
}

void KmipServer::stop() {
  if (pid_ < 0) return;
  ::close(to_);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  std::fclose(from_);
  pid_ = -1;
}

void KmipServer::restart(const std::vector<std::string>& options) {
  stop();
  start(options);
}

std::string KmipServer::read_line() {
  // An answer is one line and has been read whole, so that nothing waits in the buffer.
  pollfd ready{.fd = ::fileno(from_), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, kPatienceMs) != 1) throw std::runtime_error("the server does not answer");
  char* line = nullptr;
  std::size_t size = 0;
  const ssize_t length = ::getline(&line, &size, from_);
  const std::string text = length > 0 ? line : "";
  std::free(line);
  if (text.empty()) throw std::runtime_error("the server has ended");
  return text;
}

nlohmann::json KmipServer::ask(const nlohmann::json& command) {
  if (!write_all(to_, as_bytes(command.dump() + "\n"))) throw std::runtime_error("no server");
  auto said = nlohmann::json::parse(read_line());
  if (!said.contains("ok")) throw std::runtime_error(command.dump() + ": " + said.dump());
  return said["ok"];
}

std::string KmipServer::new_key(nlohmann::json about) {
  about["do"] = "key";
  return uri(ask(about).get<std::string>());
}

void KmipServer::trouble(const std::string& kind, const std::string& operation, int times) {
  ask({{"do", "trouble"}, {"kind", kind}, {"operation", operation}, {"times", times}});
}

nlohmann::json KmipServer::seen(const std::string& operation) {
  auto found = nlohmann::json::array();
  for (const auto& request : ask({{"do", "seen"}})) {
    if (operation.empty() || request.at("operation") == operation) found.push_back(request);
  }
  return found;
}

std::string KmipServer::write(const std::string& name, const std::string& content,
                              unsigned mode) const {
  const std::string path = dir_.file(name);
  if (!replace_file(path, as_bytes(content), 0600) || ::chmod(path.c_str(), mode) != 0)
    throw std::runtime_error(path);
  return path;
}

}  // namespace coffer::testing
