#include "fs/identity/identity_resolver.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/identity/thread_status.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// A process may have 65 536 groups of ten digits; whoever has more text than this gets no
/// selectors.
constexpr std::size_t kMaxStatus = std::size_t{1} << 20U;

/// All that a status file says now. It is one record: a read that ends before the buffer does has
/// all of it.
std::optional<std::string> read_record(int fd) {
  std::string text(4096, '\0');
  while (true) {
    const ssize_t length = ::pread(fd, text.data(), text.size(), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return std::nullopt;
    if (static_cast<std::size_t>(length) < text.size()) {
      text.resize(static_cast<std::size_t>(length));
      return text;
    }
    if (text.size() >= kMaxStatus) return std::nullopt;
    text.resize(text.size() * 2);
  }
}

/// The file of the thread that called last stays open, for it calls again. What it says is read
/// anew each time, and whose it is can't change: where the thread is gone reading fails, whoever
/// has its number then.
std::optional<std::string> read_status(pid_t tid) {
  struct Last {
    pid_t tid = 0;
    UniqueFd file;
  };
  thread_local Last last;
  if (last.tid == tid) {
    if (auto text = read_record(last.file.get())) return text;
  }
  const std::string path = "/proc/" + std::to_string(tid) + "/status";
  last = Last{.tid = tid, .file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))};
  if (!last.file.valid()) return std::nullopt;
  return read_record(last.file.get());
}

}  // namespace

Caller Caller::self() {
  return {.uid = ::geteuid(), .gid = ::getegid(), .tid = static_cast<pid_t>(::syscall(SYS_gettid))};
}

Identity identity_of_request(const Caller& caller) {
  Identity identity;
  identity.uid = caller.uid;
  identity.gid = caller.gid;
  if (caller.tid <= 0) return identity;
  identity.selectors.push_back(Selector::unix_uid(caller.uid));
  identity.selectors.push_back(Selector::unix_gid(caller.gid));
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

Identity resolve_identity(const Caller& caller) {
  Identity identity = identity_of_request(caller);
  if (caller.tid <= 0) return identity;
  const auto text = read_status(caller.tid);
  const auto status = text.has_value() ? parse_thread_status(*text) : std::nullopt;
  if (!status.has_value()) {
    identity.selectors.clear();
    return identity;
  }
  identity.pid = status->tgid;
  for (const gid_t group : status->groups) {
    identity.selectors.push_back(Selector::unix_supplementary_gid(group));
  }
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

}  // namespace coffer
