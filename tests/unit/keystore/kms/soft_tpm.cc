#include "tests/unit/keystore/kms/soft_tpm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/tpm2_seal.h"

namespace coffer::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kTctiVariable = "COFFER_TPM2_TCTI";
constexpr auto kPatience = 10s;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("too long: " + path);
  path.copy(address.sun_path, path.size());
  return address;
}

UniqueFd connect_to(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

bool send_all(int to, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

/// Commands and answers alike: tag (2), size of all (4), code (4), and the rest.
ByteVector receive_one(int from) {
  ByteVector message(10);
  if (::recv(from, message.data(), message.size(), MSG_WAITALL) != 10) return {};
  // None is longer than 64 KiB.
  const std::size_t size = (static_cast<std::size_t>(message[4]) << 8U) + message[5];
  if (size < 10) return {};
  message.resize(size);
  const auto rest = static_cast<ssize_t>(size - 10);
  if (rest > 0 && ::recv(from, message.data() + 10, size - 10, MSG_WAITALL) != rest) return {};
  return message;
}

/// TPM_RC_FAILURE, and nothing else.
ByteVector refusal() { return {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01}; }

}  // namespace

bool have_soft_tpm() {
  return ::access("/usr/bin/swtpm", X_OK) == 0 && ::access("/usr/bin/tpm2_getcap", X_OK) == 0;
}

SoftTpm::SoftTpm() {
  silence_tpm2_library();
  start();
  use();
}

void SoftTpm::start() {
  const std::string state = "dir=" + dir_.path();
  const std::string control = "type=unixio,path=" + socket() + ".ctrl";
  const std::string server = "type=unixio,path=" + socket();
  const std::string log_path = dir_.file("log");
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (::getppid() != parent || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0) ::_exit(1);
    ::execl("/usr/bin/swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state.c_str(), "--ctrl",
            control.c_str(), "--server", server.c_str(), "--flags", "not-need-init,startup-clear",
            static_cast<char*>(nullptr));
    ::_exit(1);
  }
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!connect_to(socket()).valid()) {
    if (std::chrono::steady_clock::now() > until || ::waitpid(pid_, nullptr, WNOHANG) != 0)
      throw std::runtime_error("swtpm does not answer");
    std::this_thread::sleep_for(2ms);
  }
  // As firmware and boot loaders do.
  const std::string digest = ":sha256=" + std::string(64, '5');
  tool("tpm2_pcrextend 0" + digest + " 7" + digest + " 11" + digest);
}

void SoftTpm::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > until) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(1ms);
  }
  pid_ = -1;
}

void SoftTpm::restart() {
  // As the kernel does it: a TPM that loses its power takes that for a wrong PIN.
  tool("tpm2_shutdown --clear");
  stop();
  start();
}

void SoftTpm::pause() const { ::kill(pid_, SIGSTOP); }
void SoftTpm::go_on() const { ::kill(pid_, SIGCONT); }

void SoftTpm::use() const { ::setenv(kTctiVariable, ("swtpm:path=" + socket()).c_str(), 1); }

std::string SoftTpm::tool(const std::string& command) const {
  const std::string whole = "TPM2TOOLS_TCTI=swtpm:path=" + socket() + " timeout 20 " + command +
                            " 2>" + dir_.file("errors");
  FILE* const output = ::popen(whole.c_str(), "r");
  if (output == nullptr) throw std::runtime_error(whole);
  std::string said;
  std::array<char, 4096> some{};
  while (const std::size_t size = std::fread(some.data(), 1, some.size(), output))
    said.append(some.data(), size);
  if (::pclose(output) != 0) {
    const auto errors = read_small_file(dir_.file("errors"), 10'000);
    throw std::runtime_error(command + ": " + (errors ? std::string(as_text(*errors)) : ""));
  }
  return said;
}

void SoftTpm::extend(unsigned pcr) const {
  tool("tpm2_pcrextend " + std::to_string(pcr) + ":sha256=" + std::string(64, 'e'));
}

unsigned SoftTpm::handles() const {
  unsigned count = 0;
  for (const char* const kind : {"handles-transient", "handles-loaded-session"}) {
    for (const char letter : tool(std::string("tpm2_getcap ") + kind)) count += letter == '\n';
  }
  return count;
}

std::string SoftTpm::pin_file(const std::string& content) const {
  const std::string path = dir_.file("pin");
  if (!replace_file(path, as_bytes(content), 0600)) throw std::runtime_error(path);
  return path;
}

TpmTap::TpmTap(const SoftTpm& tpm, TpmMeddling meddling)
    : behind_(tpm.socket()), meddling_(std::move(meddling)) {
  const std::string path = dir_.file("tap");
  std::filesystem::create_symlink(behind_ + ".ctrl", path + ".ctrl");
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 8) != 0)
    throw std::runtime_error("can't listen at " + path);
  ::setenv(kTctiVariable, ("swtpm:path=" + path).c_str(), 1);
  thread_ = std::thread([this] { serve(); });
}

TpmTap::~TpmTap() {
  finish();
  ::setenv(kTctiVariable, ("swtpm:path=" + behind_).c_str(), 1);
}

std::vector<ByteVector> TpmTap::finish() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
  return passed_;
}

void TpmTap::serve() {
  while (true) {
    const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    converse(client.get());
  }
}

void TpmTap::converse(int client) {
  const UniqueFd tpm = connect_to(behind_);
  while (true) {
    ByteVector command = receive_one(client);
    if (command.empty()) return;
    const auto number = static_cast<unsigned>(passed_.size() / 2);
    if (meddling_.command) meddling_.command(number, command);
    const bool refused = number == meddling_.refused;
    if (!refused && !send_all(tpm.get(), command)) return;
    ByteVector answer = refused ? refusal() : receive_one(tpm.get());
    if (meddling_.answer) meddling_.answer(number, answer);
    passed_.push_back(std::move(command));
    passed_.push_back(answer);
    if (answer.empty() || !send_all(client, answer)) return;
  }
}

std::uint32_t command_code(Bytes command) {
  std::uint32_t code = 0;
  for (std::size_t at = 6; at < 10; ++at) code = code << 8U | command[at];
  return code;
}

}  // namespace coffer::testing
