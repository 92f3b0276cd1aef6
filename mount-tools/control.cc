#include "mount-tools/control.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "keystore/base/atomic_file.h"
#include "keystore/base/bytes.h"
#include "keystore/cli/passphrase.h"
#include "keystore/crypto/digest.h"

namespace coffer {
namespace {

constexpr std::size_t kLongestLine = 64 * 1024;
constexpr int kPatienceMs = 30'000;
constexpr std::string_view kSuffix = ".sock";
/// In place of an answer, which follows when the passphrase came.
constexpr const char* kAskForPassphrase = R"({"passphrase":true})";

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{Code::kInvalid, ENAMETOOLONG, "control socket " + path};
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

/// The directory is ours alone: in /tmp another user could have made it first.
Result<void> make_private_directory(const std::string& path) {
  TRY(make_directories(path, 0700));
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno_error(errno, path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 022) != 0) {
    return Error{Code::kDenied, 0,
                 path + " is not a directory of ours alone; remove it or set COFFER_RUNTIME_DIR"};
  }
  return {};
}

/// Up to a newline, within the time that a peer is waited for.
Result<std::string> read_line(int fd) {
  std::string line;
  std::array<char, 4096> part{};
  while (line.size() <= kLongestLine) {
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    const int waited = ::poll(&ready, 1, kPatienceMs);
    if (waited < 0 && errno == EINTR) continue;
    if (waited <= 0) return errno_error(waited == 0 ? ETIMEDOUT : errno, "the mount's answer");
    const ssize_t length = ::read(fd, part.data(), part.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno_error(errno);
    line.append(part.data(), static_cast<std::size_t>(length));
    const std::size_t end = line.find('\n');
    if (end != std::string::npos) return line.substr(0, end);
    if (length == 0) break;
  }
  return errno_error(EPROTO, "the mount's answer");
}

Result<void> send_all(int fd, std::string_view rest) {
  while (!rest.empty()) {
    const ssize_t done = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno_error(errno);
    rest.remove_prefix(static_cast<std::size_t>(done));
  }
  return {};
}

Result<void> send_line(int fd, std::string line) {
  line.push_back('\n');
  return send_all(fd, line);
}

/// Who is at the other end, if it is someone who may ask.
std::optional<Caller> peer_of(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return std::nullopt;
  if (peer.uid != 0 && peer.uid != ::geteuid()) return std::nullopt;
  return Caller{.uid = peer.uid, .gid = peer.gid, .tid = peer.pid};
}

}  // namespace

std::string runtime_directory() {
  if (std::string given = environment("COFFER_RUNTIME_DIR"); !given.empty()) return given;
  if (::geteuid() == 0) return "/run/coffer";
  if (const std::string session = environment("XDG_RUNTIME_DIR"); !session.empty())
    return session + "/coffer";
  return "/tmp/coffer-" + std::to_string(::geteuid());
}

std::string control_path(const std::string& mountpoint) {
  return runtime_directory() + "/" + to_hex(Bytes(sha256(as_bytes(mountpoint))).first(8)) +
         std::string(kSuffix);
}

std::vector<std::string> control_paths() {
  std::vector<std::string> paths;
  DIR* const directory = ::opendir(runtime_directory().c_str());
  if (directory == nullptr) return paths;
  while (const dirent* const entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name.ends_with(kSuffix)) paths.push_back(runtime_directory() + "/" + std::string(name));
  }
  ::closedir(directory);
  return paths;
}

ControlServer::ControlServer(std::string path, UniqueFd listener, UniqueFd stop_reader,
                             UniqueFd stop_writer, Handler handler)
    : path_(std::move(path)),
      listener_(std::move(listener)),
      stop_reader_(std::move(stop_reader)),
      stop_writer_(std::move(stop_writer)),
      handler_(std::move(handler)),
      thread_([this] { loop(); }) {}

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& path,
                                                            Handler handler) {
  const std::size_t slash = path.find_last_of('/');
  TRY(make_private_directory(path.substr(0, slash)));
  const sockaddr_un address = TRY(address_of(path));
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::unlink(path.c_str());  // of a mount that was killed: a live one holds the mount point, which
                           // was free
  if (!listener.valid() ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0600) != 0 || ::listen(listener.get(), 16) != 0) {
    return errno_error(errno, "control socket " + path);
  }
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return errno_error(errno, "control socket");
  return std::unique_ptr<ControlServer>(
      new ControlServer(path, std::move(listener), UniqueFd(pipe_ends[0]), UniqueFd(pipe_ends[1]),
                        std::move(handler)));
}

ControlServer::~ControlServer() {
  stop_writer_.reset();
  thread_.join();
  ::unlink(path_.c_str());
}

void ControlServer::loop() {
  while (true) {
    std::array<pollfd, 2> waiting = {{{.fd = listener_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = stop_reader_.get(), .events = POLLIN, .revents = 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0) return;
    if ((waiting[0].revents & POLLIN) == 0) continue;
    const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (peer.valid()) answer(peer);
  }
}

void ControlServer::answer(const UniqueFd& peer) {
  const auto caller = peer_of(peer.get());
  if (!caller) return;
  // Neither end keeps a passphrase in anything but locked memory.
  const PassphraseSource passphrase = [&peer](bool) -> Result<SecretBytes> {
    constexpr timeval kWait{.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
    if (::setsockopt(peer.get(), SOL_SOCKET, SO_RCVTIMEO, &kWait, sizeof kWait) != 0)
      return errno_error(errno);
    TRY(send_line(peer.get(), kAskForPassphrase));
    return read_passphrase(peer.get());
  };
  if (const auto request = read_line(peer.get()))
    (void)send_line(peer.get(), handler_(*request, *caller, passphrase));
}

Result<std::string> ask_mount(const std::string& path, const std::string& request,
                              const PassphraseSource& passphrase) {
  const sockaddr_un address = TRY(address_of(path));
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_error(errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED) ::unlink(path.c_str());
    if (errno == ECONNREFUSED || errno == ENOENT)
      return Error{Code::kNotFound, 0, "no mount answers at " + path};
    return errno_error(errno, path);
  }
  TRY(send_line(socket.get(), request));
  std::string answer = TRY(read_line(socket.get()));
  if (answer != kAskForPassphrase || !passphrase) return answer;
  const SecretBytes secret = TRY(passphrase(false));
  TRY(send_all(socket.get(), as_text(secret.expose())));
  TRY(send_all(socket.get(), "\n"));
  return read_line(socket.get());
}

}  // namespace coffer
