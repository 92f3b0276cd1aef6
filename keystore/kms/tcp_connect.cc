#include "keystore/kms/tcp_connect.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "keystore/kms/call_bound.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// The resolver has no deadline of its own.
constexpr milliseconds kResolving{4000};

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

struct AddressesFree {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

Error unavailable(int reason, const std::string& words) {
  return {Code::kKmsUnavailable, reason, words};
}

Result<std::vector<Address>> look_up(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int outcome = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (outcome != 0) return unavailable(0, host + ": " + ::gai_strerror(outcome));
  const std::unique_ptr<addrinfo, AddressesFree> owned(list);
  std::vector<Address> addresses;
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    Address& address = addresses.emplace_back();
    address.length = std::min<socklen_t>(each->ai_addrlen, sizeof(address.storage));
    std::memcpy(&address.storage, each->ai_addr, address.length);
  }
  return addresses;
}

Result<std::vector<Address>> addresses_of(const HostAndPort& to) {
  static const CallBound resolving(kResolving);
  const std::string host = without_brackets(to.host);
  const std::string port = std::to_string(to.port);
  if (auto numeric = look_up(host, port, AI_NUMERICHOST)) return numeric;
  return resolving.run<std::vector<Address>>(host, [host, port] { return look_up(host, port, 0); });
}

Result<void> wait_writable(int fd, steady_clock::time_point until) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now()).count();
    if (left <= 0) return unavailable(ETIMEDOUT, "connecting");
    pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
    const int outcome = ::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (outcome > 0) return {};
    if (outcome < 0 && errno != EINTR) return unavailable(errno, "poll");
  }
}

Result<UniqueFd> connect_one(const Address& address, steady_clock::time_point until) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return unavailable(errno, "socket");
  const int on = 1;
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const auto* const to = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(fd.get(), to, address.length) == 0) return fd;
  if (errno != EINPROGRESS) return unavailable(errno, "connecting");
  TRY(wait_writable(fd.get(), until));
  int failure = 0;
  socklen_t length = sizeof(failure);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &failure, &length) != 0) failure = errno;
  if (failure != 0) return unavailable(failure, "connecting");
  return fd;
}

}  // namespace

std::string without_brackets(const std::string& host) {
  return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
}

Result<UniqueFd> tcp_connect(const HostAndPort& to, steady_clock::time_point until) {
  const std::vector<Address> addresses = TRY(addresses_of(to));
  Error last = unavailable(ETIMEDOUT, "connecting");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto now = steady_clock::now();
    const auto part = (until - now) / static_cast<std::int64_t>(addresses.size() - i);
    auto fd = connect_one(addresses[i], now + part);
    if (fd) return fd;
    last = fd.error();
  }
  return last;
}

}  // namespace coffer
