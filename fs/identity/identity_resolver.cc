#include "fs/identity/identity_resolver.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/identity/thread_status.h"
#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// A process may have 65 536 groups of ten digits; whoever has more text than this gets no
/// selectors.
constexpr std::size_t kMaxStatus = std::size_t{1} << 20U;

std::optional<std::string> read_status(pid_t tid) {
  const std::string path = "/proc/" + std::to_string(tid) + "/status";
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::string text(4096, '\0');
  std::size_t used = 0;
  while (true) {
    const auto part = read_up_to(
        fd.get(), {reinterpret_cast<std::uint8_t*>(text.data()) + used, text.size() - used});
    if (!part) return std::nullopt;
    used += *part;
    if (used < text.size()) break;
    if (text.size() >= kMaxStatus) return std::nullopt;
    text.resize(text.size() * 2);
  }
  text.resize(used);
  return text;
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
