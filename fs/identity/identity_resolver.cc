#include "fs/identity/identity_resolver.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "fs/identity/proc_files.h"
#include "fs/identity/thread_status.h"
#include "fs/identity/watched_thread.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// Facts of the machine and its files, whichever store is asked about.
SharedFacts& shared_facts() {
  static SharedFacts facts;
  return facts;
}

/// The threads that called last, for they call again. Each costs three descriptors.
class RecentThreads {
 public:
  std::optional<Identity> identify(const Caller& caller, Sources asked) {
    for (auto& thread : threads_) {
      if (!thread.has_value() || thread->tid() != caller.tid) continue;
      if (auto identity = thread->identify(caller, asked, shared_facts(), membership_))
        return identity;
      thread.reset();  // gone: the number may be another's by now
    }
    auto& thread = threads_[oldest_++ % threads_.size()];
    thread = WatchedThread::open(caller.tid);
    if (!thread.has_value()) return std::nullopt;
    auto identity = thread->identify(caller, asked, shared_facts(), membership_);
    if (!identity.has_value()) thread.reset();
    return identity;
  }

 private:
  std::array<std::optional<WatchedThread>, 8> threads_;
  std::size_t oldest_ = 0;
  std::shared_ptr<const Membership> membership_;  ///< what was taken apart last
};

}  // namespace

Caller Caller::self() {
  return {.uid = ::geteuid(), .gid = ::getegid(), .tid = static_cast<pid_t>(::syscall(SYS_gettid))};
}

Identity identity_of_request(const Caller& caller) {
  Identity identity;
  identity.uid = caller.uid;
  identity.gid = caller.gid;
  identity.known = Sources{};
  if (caller.tid <= 0) return identity;
  identity.selectors.push_back(Selector::unix_uid(caller.uid));
  identity.selectors.push_back(Selector::unix_gid(caller.gid));
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

bool has_own_proc() {
  const UniqueFd status(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  std::string buffer;
  const auto text = status.valid() ? read_record(status.get(), buffer) : std::nullopt;
  const auto self = text.has_value() ? parse_thread_status(*text) : std::nullopt;
  return self.has_value() && self->numbers <= 1;
}

Identity resolve_identity(const Caller& caller, Sources asked) {
  static const bool own_proc = has_own_proc();
  if (caller.tid > 0 && own_proc) {
    thread_local RecentThreads recent;
    if (auto identity = recent.identify(caller, asked)) return std::move(*identity);
  }
  Identity nobody = identity_of_request(caller);
  nobody.selectors.clear();
  return nobody;
}

}  // namespace coffer
