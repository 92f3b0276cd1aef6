#include "tests/unit/keystore/kms/transit_server.h"

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

constexpr const char* kNodePolicy = R"(
path "transit/keys/*" { capabilities = ["read"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
)";

void forget_settings() {
  for (const char* const name :
       {"VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CLIENT_CERT",
        "VAULT_CLIENT_KEY", "COFFER_VAULT_AUTH", "COFFER_VAULT_AUTH_MOUNT", "COFFER_VAULT_ROLE",
        "COFFER_VAULT_TOKEN_FILE", "COFFER_VAULT_SECRET_ID_FILE", "COFFER_VAULT_JWT_FILE",
        "COFFER_VAULT_PIN_SHA256", "COFFER_VAULT_CONFIG", "https_proxy", "HTTPS_PROXY",
        "http_proxy", "no_proxy"}) {
    ::unsetenv(name);
  }
}

}  // namespace

bool have_transit_server() {
  static const bool have =
      std::system((std::string(kPython) + " -c 'import cryptography' 2>/dev/null").c_str()) == 0;
  return have;
}

void set_variable(const char* name, const std::string& value) {
  if (value.empty()) {
    ::unsetenv(name);
  } else {
    ::setenv(name, value.c_str(), 1);
  }
}

TransitServer::TransitServer(const std::vector<std::string>& options) {
  start(options);
  forget_settings();
  const bool plain = !options.empty() && options[0] == "--plain";
  set_variable("VAULT_ADDR", (plain ? "http://" : "https://") + host());
  set_variable("VAULT_TOKEN", root_token_);
  set_variable("VAULT_CACERT", file("ca.pem"));
}

TransitServer::~TransitServer() {
  stop();
  forget_settings();
}

void TransitServer::start(const std::vector<std::string>& options) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  std::vector<std::string> words = {kPython,     "-B",     COFFER_TRANSIT_SERVER,
                                    dir_.path(), "--port", std::to_string(port_)};
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
  root_token_ = said.at("token");
}

void TransitServer::stop() {
  if (pid_ < 0) return;
  ::close(to_);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  std::fclose(from_);
  pid_ = -1;
}

void TransitServer::restart(const std::vector<std::string>& options) {
  stop();
  start(options);
}

std::string TransitServer::read_line() {
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

nlohmann::json TransitServer::ask(const nlohmann::json& command) {
  if (!write_all(to_, as_bytes(command.dump() + "\n"))) throw std::runtime_error("no stand-in");
  auto said = nlohmann::json::parse(read_line());
  if (!said.contains("ok")) throw std::runtime_error(command.dump() + ": " + said.dump());
  return said["ok"];
}

nlohmann::json TransitServer::api(const std::string& path, const nlohmann::json& body,
                                  const std::string& method, const std::string& name_space) {
  return ask({{"do", "api"},
              {"path", path},
              {"body", body},
              {"method", method},
              {"namespace", name_space}});
}

void TransitServer::trouble(const std::string& kind, const std::string& path, int times) {
  ask({{"do", "trouble"}, {"kind", kind}, {"path", path}, {"times", times}});
}

std::size_t TransitServer::seen(const std::string& path) {
  std::size_t count = 0;
  for (const auto& request : ask({{"do", "seen"}})) {
    if (request.at("path").get<std::string>().find(path) != std::string::npos) ++count;
  }
  return count;
}

void TransitServer::set_up_transit() {
  api("sys/mounts/transit", {{"type", "transit"}});
  api("transit/keys/master", {{"derived", true}});
  api("sys/policies/acl/node", {{"policy", kNodePolicy}});
}

std::string TransitServer::token(const std::string& policy, int ttl) {
  return api("auth/token/create", {{"policies", {policy}}, {"ttl", ttl}})
      .at("auth")
      .at("client_token");
}

void TransitServer::use_approle(int ttl, int uses) {
  api("sys/auth/approle", {{"type", "approle"}});
  api("auth/approle/role/node",
      {{"token_policies", {"node"}}, {"token_ttl", ttl}, {"secret_id_num_uses", uses}});
  const auto role = api("auth/approle/role/node/role-id", nlohmann::json::object(), "GET");
  const auto secret = api("auth/approle/role/node/secret-id");
  set_variable("VAULT_TOKEN", "");
  set_variable("COFFER_VAULT_AUTH", "approle");
  set_variable("COFFER_VAULT_ROLE", role.at("data").at("role_id"));
  set_variable("COFFER_VAULT_SECRET_ID_FILE",
               write("secret-id", secret.at("data").at("secret_id").get<std::string>() + "\n"));
}

std::string TransitServer::write(const std::string& name, const std::string& content,
                                 unsigned mode) const {
  const std::string path = dir_.file(name);
  if (!replace_file(path, as_bytes(content), 0600) || ::chmod(path.c_str(), mode) != 0)
    throw std::runtime_error(path);
  return path;
}

}  // namespace coffer::testing
