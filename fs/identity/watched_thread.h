#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/identity/account_names.h"
#include "fs/identity/cgroup.h"
#include "fs/identity/executable.h"
#include "fs/identity/identity_resolver.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// What is read of threads that is true of other threads too.
struct SharedFacts {
  OwnMounts mounts;
  ExecutableHashes hashes;
  AccountNames names;
};

/// A text of control groups and what follows from it.
struct Membership {
  explicit Membership(std::string_view from);

  std::shared_ptr<const std::string> text;
  std::optional<CgroupFacts> facts;  ///< nothing if it was not understood
  std::vector<Selector> selectors;
};

/// One thread's /proc entry, held open: what is read through it is this thread's or fails, whoever
/// has its number by then. Keeps what it was told last, so that what has not changed is not taken
/// apart anew; whether it has changed is asked each time. Not thread-safe.
class WatchedThread {
 public:
  /// Nothing if there is no such thread.
  static std::optional<WatchedThread> open(pid_t tid);

  [[nodiscard]] pid_t tid() const { return tid_; }
  /// The caller's identity as far as `asked`; nothing if the thread is gone. `latest`: the control
  /// groups that were last taken apart of any thread; many threads are in the same.
  std::optional<Identity> identify(const Caller& caller, Sources asked, SharedFacts& shared,
                                   std::shared_ptr<const Membership>& latest);

 private:
  WatchedThread(pid_t tid, UniqueFd dir) : tid_(tid), dir_(std::move(dir)) {}

  /// `executes`: it was just seen to be there, executing a program.
  std::optional<Identity> gather(const Caller& caller, Sources asked, bool executes,
                                 SharedFacts& shared, std::shared_ptr<const Membership>& latest);
  /// What a file of the entry says now. It stays open in `file`.
  std::optional<std::string_view> read(UniqueFd& file, const char* name);
  bool read_status();
  bool read_cgroups(std::shared_ptr<const Membership>& latest);
  void add_groups(Identity& identity, Sources asked, AccountNames& names) const;
  void add_executable(Identity& identity, const Executable& executable, Sources asked) const;
  void add_label(Identity& identity);
  void add_container(Identity& identity);
  [[nodiscard]] bool exists() const;

  pid_t tid_;
  UniqueFd dir_;
  UniqueFd status_;
  UniqueFd cgroups_;
  std::string buffer_;
  pid_t tgid_ = 0;  ///< 0: not read yet
  bool without_program_ = false;
  std::vector<gid_t> groups_;
  std::optional<bool> among_own_processes_;  ///< it is in this process's pid namespace
  std::shared_ptr<const Membership> membership_;
  ExecutableOfThread executable_;
};

}  // namespace coffer
