#include "fs/identity/identity_resolver.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "fs/identity/watched_thread.h"

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
      if (auto identity = thread->identify(caller, asked, shared_facts())) return identity;
      thread.reset();  // gone: the number may be another's by now
    }
    auto& thread = threads_[oldest_++ % threads_.size()];
    thread = WatchedThread::open(caller.tid);
    if (!thread.has_value()) return std::nullopt;
    auto identity = thread->identify(caller, asked, shared_facts());
    if (!identity.has_value()) thread.reset();
    return identity;
  }

 private:
  std::array<std::optional<WatchedThread>, 8> threads_;
  std::size_t oldest_ = 0;
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

Identity resolve_identity(const Caller& caller, Sources asked) {
  if (caller.tid > 0) {
    thread_local RecentThreads recent;
    if (auto identity = recent.identify(caller, asked)) return std::move(*identity);
  }
  Identity nobody = identity_of_request(caller);
  nobody.selectors.clear();
  return nobody;
}

}  // namespace coffer
