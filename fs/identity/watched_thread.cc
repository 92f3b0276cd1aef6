#include "fs/identity/watched_thread.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "fs/identity/machine.h"
#include "fs/identity/pidfd.h"
#include "fs/identity/proc_files.h"
#include "fs/identity/thread_status.h"

namespace coffer {
namespace {

/// Of a thread that executes one program after another it stays unknown what it executes.
constexpr int kWatchAttempts = 4;

void add(Identity& identity, std::string_view kind, std::string_view value) {
  // What is not in its selector's form can't be granted to.
  if (auto selector = Selector::attested(kind, value))
    identity.selectors.push_back(std::move(*selector));
}

/// This process's own; it stays in them.
const std::string& own_namespace(const char* name) {
  static const std::string mounts = read_link(AT_FDCWD, "/proc/self/ns/mnt").value_or("");
  static const std::string processes = read_link(AT_FDCWD, "/proc/self/ns/pid").value_or("");
  return std::string_view(name) == "ns/mnt" ? mounts : processes;
}

}  // namespace

Membership::Membership(std::string_view from)
    : text(std::make_shared<const std::string>(from)), facts(parse_cgroups(from)) {
  if (facts.has_value()) selectors = selectors_of(*facts);
}

std::optional<WatchedThread> WatchedThread::open(pid_t tid) {
  const std::string path = "/proc/" + std::to_string(tid);
  UniqueFd dir(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return std::nullopt;
  return WatchedThread(tid, std::move(dir));
}

std::optional<std::string_view> WatchedThread::read(UniqueFd& file, const char* name) {
  if (!file.valid()) file = UniqueFd(::openat(dir_.get(), name, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  return read_record(file.get(), buffer_);
}

bool WatchedThread::exists() const { return ::faccessat(dir_.get(), "status", F_OK, 0) == 0; }

bool WatchedThread::read_status() {
  const auto text = read(status_, "status");
  auto status = text.has_value() ? parse_thread_status(*text) : std::nullopt;
  if (!status.has_value()) return false;
  tgid_ = status->tgid;
  without_program_ = status->without_program;
  groups_ = std::move(status->groups);
  // resolve_identity sees to it that this /proc is of this process's own pid namespace.
  if (status->numbers > 0) among_own_processes_ = status->numbers == 1;
  return true;
}

bool WatchedThread::read_cgroups(std::shared_ptr<const Membership>& latest) {
  const auto text = read(cgroups_, "cgroup");
  if (!text.has_value()) return false;
  if (membership_ == nullptr || *text != *membership_->text) {
    if (latest == nullptr || *text != *latest->text)
      latest = std::make_shared<const Membership>(*text);
    membership_ = latest;
  }
  return membership_->facts.has_value();
}

void WatchedThread::add_groups(Identity& identity, Sources asked, AccountNames& names) const {
  if (asked.contains(Source::kGroups)) {
    identity.known.add(Sources::of(Source::kGroups));
    for (const gid_t group : groups_)
      identity.selectors.push_back(Selector::unix_supplementary_gid(group));
  }
  if (asked.contains(Source::kUserName)) {
    const AccountNames::Name user = names.user(identity.uid);
    if (user.known) identity.known.add(Sources::of(Source::kUserName));
    if (user.name.has_value()) add(identity, "unix:user:", *user.name);
  }
  if (!asked.contains(Source::kGroupNames)) return;
  bool known = true;
  const auto add_name = [&](std::string_view kind, gid_t group) {
    const AccountNames::Name name = names.group(group);
    known &= name.known;
    if (name.name.has_value()) add(identity, kind, *name.name);
  };
  add_name("unix:group:", identity.gid);
  if (asked.contains(Source::kGroups)) {
    for (const gid_t group : groups_) add_name("unix:supplementary_group:", group);
  }
  if (known) identity.known.add(Sources::of(Source::kGroupNames));
}

void WatchedThread::add_executable(Identity& identity, const Executable& executable,
                                   Sources asked) const {
  Sources known = executable.known;
  known.bits &= asked.bits;
  identity.known.add(known);
  if (known.contains(Source::kExecutable) && executable.path.has_value())
    add(identity, "unix:path:", *executable.path);
  if (known.contains(Source::kExecutableHash) && executable.sha256.has_value())
    add(identity, "unix:sha256:", *executable.sha256);
}

void WatchedThread::add_label(Identity& identity) {
  if (!has_selinux()) {
    identity.known.add(Sources::of(Source::kLabel));
    return;
  }
  UniqueFd file;
  const auto text = read(file, "attr/current");
  if (!text.has_value()) return;
  identity.known.add(Sources::of(Source::kLabel));
  if (const auto label = parse_label(*text)) add(identity, "selinux:label:", *label);
}

void WatchedThread::add_container(Identity& identity) {
  // A process stays in its pid namespace; mounts it may leave at any time.
  if (!among_own_processes_.has_value()) {
    const auto processes = read_link(dir_.get(), "ns/pid");
    if (!processes.has_value()) return;
    among_own_processes_ = *processes == own_namespace("ns/pid");
  }
  const auto mounts = read_link(dir_.get(), "ns/mnt");
  if (!mounts.has_value()) return;
  identity.known.add(Sources::of(Source::kNamespaces));
  if (*among_own_processes_ && *mounts == own_namespace("ns/mnt") &&
      identity.known.contains(Source::kCgroup) && !membership_->facts->like_a_container)
    add(identity, "container:none", "");
}

std::optional<Identity> WatchedThread::gather(const Caller& caller, Sources asked, bool executes,
                                              SharedFacts& shared,
                                              std::shared_ptr<const Membership>& latest) {
  Identity identity = identity_of_request(caller);
  bool alive = false;
  // Whose thread it is stays so; a thread without a program may get one.
  if (tgid_ == 0 || without_program_ || asked.contains(Source::kGroups)) {
    if (!read_status()) return std::nullopt;
    alive = true;
  }
  identity.pid = tgid_;
  if (without_program_) {
    identity.selectors.clear();
    return identity;
  }
  add_groups(identity, asked, shared.names);
  if (asked.contains(Source::kCgroup) && read_cgroups(latest)) {
    alive = true;
    identity.known.add(Sources::of(Source::kCgroup));
    identity.cgroups = membership_->text;
    identity.selectors.insert(identity.selectors.end(), membership_->selectors.begin(),
                              membership_->selectors.end());
  }
  if (asked.contains(Source::kNamespaces)) add_container(identity);
  if (asked.contains(Source::kLabel)) add_label(identity);
  if (asked.contains(Source::kHost)) {
    identity.known.add(Sources::of(Source::kHost));
    if (const auto name = machine_name()) add(identity, "host:name:", *name);
    if (const auto& id = machine_id()) add(identity, "host:machine-id:", *id);
  }
  // Of one that is gone nothing is said, not even what was read before.
  if (!alive && !executes && !exists()) return std::nullopt;
  return identity;
}

std::optional<Identity> WatchedThread::identify(const Caller& caller, Sources asked,
                                                SharedFacts& shared,
                                                std::shared_ptr<const Membership>& latest) {
  Sources program = Sources::of(Source::kExecutable, Source::kExecutableHash);
  Sources rest = asked;
  program.bits &= asked.bits;
  rest.bits &= static_cast<std::uint16_t>(~program.bits);
  // The number is this thread's if the thread is there afterwards, through its entry.
  pid_t process = 0;
  if (tgid_ == 0 && !rest.contains(Source::kGroups)) process = process_of(tid_).value_or(0);
  std::optional<Identity> identity;
  for (int i = 0; i < kWatchAttempts; ++i) {
    // What a thread is allowed, and where it is put, may change with what it executes: all that is
    // said is true of one program, which is the same before and after the rest is read.
    const Executable* const executable =
        program == Sources{} ? nullptr
                             : executable_.read(dir_.get(), program, shared.mounts, shared.hashes);
    bool executes = executable != nullptr;
    if (process != 0) {
      executes = executes || find_file(dir_.get(), "exe").has_value();
      if (executes) tgid_ = process;
      process = 0;
    }
    identity = gather(caller, rest, executes && rest == Sources{}, shared, latest);
    if (!identity.has_value()) return std::nullopt;
    if (executable == nullptr || identity->selectors.empty()) break;
    if (rest != Sources{} && find_file(dir_.get(), "exe") != executable->found) continue;
    add_executable(*identity, *executable, program);
    break;
  }
  std::sort(identity->selectors.begin(), identity->selectors.end());
  identity->selectors.erase(std::unique(identity->selectors.begin(), identity->selectors.end()),
                            identity->selectors.end());
  return identity;
}

}  // namespace coffer
