// What of a process is read when it is asked for, and what stays unknown.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "fs/identity/cgroup.h"
#include "fs/identity/identity_resolver.h"
#include "fs/identity/machine.h"
#include "fs/identity/pidfd.h"
#include "tests/support/child_process.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/fs/identity/programs.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::is_root;

Identity identity_from(pid_t tid, Sources asked, uid_t uid = 0, gid_t gid = 0) {
  return resolve_identity({.uid = uid, .gid = gid, .tid = tid}, asked);
}

bool holds(const Identity& identity, const std::string& text) {
  return identity.has(Selector::parse(text).value());
}

TEST(IdentitySources, AreReadWhenAskedForAlone) {
  for (unsigned bits = 0; bits <= Sources::all().bits; ++bits) {
    const Sources asked{static_cast<std::uint16_t>(bits)};
    const Identity identity = identity_from(::getpid(), asked);
    EXPECT_EQ(identity.pid, ::getpid());
    // Of itself a process can find out all.
    EXPECT_EQ(identity.known, asked) << bits;
    EXPECT_TRUE(std::is_sorted(identity.selectors.begin(), identity.selectors.end()));
    for (const Selector& selector : identity.selectors) {
      EXPECT_TRUE(asked.cover(selector.sources())) << selector.text() << " " << bits;
      EXPECT_TRUE(Selector::parse(selector.text()).ok()) << selector.text();
    }
  }
}

TEST(IdentitySources, TellNamesOfUsersAndGroups) {
  const Sources names = Sources::of(Source::kUserName, Source::kGroupNames);
  const Identity root = identity_from(::getpid(), names);
  EXPECT_TRUE(holds(root, "unix:user:root"));
  EXPECT_TRUE(holds(root, "unix:group:root"));
  const Identity nobody = identity_from(::getpid(), names, 4'242'424'242U, 4'242'424'242U);
  EXPECT_EQ(nobody.known, names);
  EXPECT_EQ(nobody.selectors.size(), 2U);
  if (!is_root()) COFFER_SKIP("setting groups needs root");
  const gid_t groups[] = {0, ::getgrnam("daemon")->gr_gid, 4'242'424'242U};
  const ChildProcess child([&] { return ::setgroups(3, groups) == 0; });
  ASSERT_TRUE(child.ready());
  Sources asked = names;
  asked.add(Sources::of(Source::kGroups));
  const Identity member = identity_from(child.pid(), asked);
  EXPECT_TRUE(holds(member, "unix:supplementary_group:root"));
  EXPECT_TRUE(holds(member, "unix:supplementary_group:daemon"));
  EXPECT_EQ(member.selectors.size(), 9U)
      << "uid, gid, their names, three groups, two of their names";
}

TEST(IdentitySources, TellTheMachine) {
  const Identity identity = identity_from(::getpid(), Sources::of(Source::kHost));
  EXPECT_EQ(identity.selectors.size(), 2U + (machine_name() ? 1 : 0) + (machine_id() ? 1 : 0));
  ASSERT_TRUE(machine_name().has_value());
  EXPECT_TRUE(holds(identity, "host:name:" + *machine_name()));
}

TEST(IdentitySources, TellTheProcessOfAThreadHoweverTheKernelIsAsked) {
  for (const Sources asked : {Sources{}, Sources::of(Source::kGroups), Sources::of(Source::kCgroup),
                              Sources::of(Source::kExecutable)}) {
    pid_t tid = 0;
    std::thread([&] {
      tid = Caller::self().tid;
      EXPECT_NE(tid, ::getpid());
      // A kernel that can't be asked says so.
      EXPECT_EQ(process_of(tid).value_or(::getpid()), ::getpid());
      // The second time it is remembered.
      for (int i = 0; i < 2; ++i) EXPECT_EQ(identity_from(tid, asked).pid, ::getpid());
    }).join();
    ASSERT_TRUE(testing::wait_until(
        [&] { return ::access(("/proc/" + std::to_string(tid)).c_str(), F_OK) != 0; }));
    EXPECT_EQ(process_of(tid), std::nullopt);
    EXPECT_TRUE(identity_from(tid, asked).selectors.empty());
  }
}

TEST(IdentitySources, GiveNothingOfAThreadOfTheKernels) {
  // Number 2 makes the others, where the whole machine's processes are seen.
  if (testing::content_of("/proc/2/stat").find("(kthreadd)") == std::string::npos)
    GTEST_SKIP() << "no thread of the kernel's is seen in this pid namespace";
  for (const Sources asked : {Sources{}, Sources::of(Source::kGroups), Sources::all()}) {
    EXPECT_TRUE(identity_from(2, asked).selectors.empty());
    EXPECT_TRUE(identity_from(2, asked).selectors.empty()) << "the second time too";
  }
}

TEST(IdentitySources, GiveNothingOfOneThatIsGoneWhateverIsAsked) {
  ChildProcess child([] { return true; });
  const pid_t pid = child.pid();
  const Sources each[] = {Sources{},
                          Sources::of(Source::kHost),
                          Sources::of(Source::kUserName),
                          Sources::of(Source::kCgroup),
                          Sources::of(Source::kExecutable),
                          Sources::all()};
  for (const Sources asked : each) EXPECT_FALSE(identity_from(pid, asked).selectors.empty());
  child.end();
  for (const Sources asked : each)
    EXPECT_TRUE(identity_from(pid, asked).selectors.empty()) << asked.bits;
}

constexpr Sources kContainer = Sources::of(Source::kCgroup, Source::kNamespaces);

TEST(IdentitySources, TellWhoIsInNoContainer) {
  const bool plain = !parse_cgroups(testing::content_of("/proc/self/cgroup"))->like_a_container;
  EXPECT_EQ(holds(identity_from(::getpid(), kContainer), "container:none"), plain);
  EXPECT_EQ(holds(identity_from(::getpid(), Sources::all()), "container:none"), plain);
  if (!is_root()) COFFER_SKIP("namespaces need root");
  const ChildProcess same([] { return true; });
  EXPECT_EQ(holds(identity_from(same.pid(), kContainer), "container:none"), plain);
  const ChildProcess mounts([] { return ::unshare(CLONE_NEWNS) == 0; });
  ASSERT_TRUE(mounts.ready());
  const Identity other = identity_from(mounts.pid(), kContainer);
  EXPECT_FALSE(holds(other, "container:none"));
  EXPECT_EQ(other.known, kContainer) << "it is known that it is in one";
}

TEST(IdentitySources, OfAnotherPidNamespaceAreKnownByTheNumberHere) {
  if (!is_root()) COFFER_SKIP("namespaces need root");
  const ChildProcess outer([] {
    if (::unshare(CLONE_NEWPID) != 0) return false;
    const pid_t inner = ::fork();
    if (inner == 0) {
      while (true) ::pause();
    }
    return inner > 0;
  });
  ASSERT_TRUE(outer.ready());
  const std::string outer_entry = "/proc/" + std::to_string(outer.pid());
  std::string children =
      testing::content_of(outer_entry + "/task/" + std::to_string(outer.pid()) + "/children");
  const pid_t inner = std::stoi(children);
  EXPECT_NE(testing::content_of("/proc/" + std::to_string(inner) + "/status")
                .find("\nNSpid:\t" + std::to_string(inner) + "\t1\n"),
            std::string::npos);
  const Identity identity = identity_from(inner, Sources::all());
  EXPECT_EQ(identity.pid, inner);
  EXPECT_FALSE(holds(identity, "container:none"));
  EXPECT_TRUE(
      holds(identity, "unix:path:" + std::filesystem::read_symlink("/proc/self/exe").string()));
  ::kill(inner, SIGKILL);
}

/// A control group of the test's own in whichever hierarchy says where processes belong.
class OwnGroup {
 public:
  explicit OwnGroup(const std::string& name) {
    for (const char* const top :
         {"/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/systemd"}) {
      if (::access((std::string(top) + "/cgroup.procs").c_str(), W_OK) != 0) continue;
      if (::mkdir((top + name).c_str(), 0755) != 0) continue;
      place_ = top + name;
      return;
    }
  }
  ~OwnGroup() {
    if (!place_.empty()) testing::wait_until([&] { return ::rmdir(place_.c_str()) == 0; });
  }
  [[nodiscard]] bool made() const { return !place_.empty(); }
  [[nodiscard]] bool take(pid_t pid) const {
    std::ofstream file(place_ + "/cgroup.procs");
    file << pid << std::flush;
    return file.good();
  }

 private:
  std::string place_;
};

TEST(IdentitySources, FollowAProcessThatIsMovedToAnotherGroup) {
  if (!is_root()) COFFER_SKIP("control groups need root");
  const std::string name = "/coffer-test-" + std::to_string(::getpid());
  const OwnGroup first(name + "-a.service");
  const OwnGroup second(name + "-b.scope");
  if (!first.made() || !second.made()) COFFER_SKIP("no control groups can be made");
  ChildProcess child([] { return true; });
  const auto told = [&] {
    const Identity identity = identity_from(child.pid(), Sources::of(Source::kCgroup));
    std::string all;
    for (const Selector& selector : identity.selectors) {
      if (!selector.text().starts_with("unix:")) all += selector.text() + " ";
    }
    return all;
  };
  // Beside where this test itself runs, which may be anywhere.
  const std::string before = told();
  ASSERT_TRUE(first.take(child.pid()));
  EXPECT_TRUE(told().ends_with(name.substr(1) + "-a.service ")) << told();
  ASSERT_TRUE(second.take(child.pid()));
  EXPECT_TRUE(told().ends_with(name.substr(1) + "-b.scope ")) << told();
  EXPECT_EQ(told().find("-a.service"), std::string::npos);
  EXPECT_NE(told(), before);
  child.end();
}

TEST(IdentitySources, OfOneInAGroupAreNoneOfOneInAnother) {
  if (!is_root()) COFFER_SKIP("control groups need root");
  const std::string name = "/coffer-test-" + std::to_string(::getpid());
  const OwnGroup group(name + "-c.service");
  if (!group.made()) COFFER_SKIP("no control groups can be made");
  // More than are remembered, so that each is met anew with what the one before it was in.
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int i = 0; i < 12; ++i) {
    children.push_back(std::make_unique<ChildProcess>([] { return true; }));
    ASSERT_TRUE(i % 2 == 0 || group.take(children.back()->pid()));
  }
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < children.size(); ++i) {
      const Identity identity = identity_from(children[i]->pid(), Sources::of(Source::kCgroup));
      EXPECT_EQ(holds(identity, "systemd:id:" + name.substr(1) + "-c.service"), i % 2 == 1) << i;
      ASSERT_NE(identity.cgroups, nullptr);
      EXPECT_EQ(*identity.cgroups,
                testing::content_of("/proc/" + std::to_string(children[i]->pid()) + "/cgroup"));
    }
  }
}

}  // namespace
}  // namespace coffer
