#include "fs/identity/identity_resolver.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "fs/identity/proc_files.h"
#include "keystore/base/unique_fd.h"
#include "tests/support/child_process.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::is_root;

std::set<std::string> texts(const Identity& identity) {
  std::set<std::string> all;
  for (const Selector& selector : identity.selectors) all.insert(selector.text());
  return all;
}

std::set<std::string> expected(uid_t uid, gid_t gid, const std::vector<gid_t>& groups) {
  std::set<std::string> all = {"unix:uid:" + std::to_string(uid),
                               "unix:gid:" + std::to_string(gid)};
  for (const gid_t group : groups) all.insert("unix:supplementary_gid:" + std::to_string(group));
  return all;
}

std::vector<gid_t> own_groups() {
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  EXPECT_GE(::getgroups(static_cast<int>(groups.size()), groups.data()), 0);
  return groups;
}

/// What was asked of every caller before there was a choice.
Identity resolve_identity(const Caller& caller) {
  return resolve_identity(caller, Sources::of(Source::kGroups));
}

pid_t own_tid() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

TEST(IdentityResolver, KnowsItself) {
  const Caller self = Caller::self();
  EXPECT_EQ(self.uid, ::geteuid());
  EXPECT_EQ(self.gid, ::getegid());
  EXPECT_EQ(self.tid, ::getpid());
  const Identity identity = resolve_identity(self);
  EXPECT_EQ(identity.uid, ::geteuid());
  EXPECT_EQ(identity.gid, ::getegid());
  EXPECT_EQ(identity.pid, ::getpid());
  EXPECT_EQ(texts(identity), expected(::geteuid(), ::getegid(), own_groups()));
  EXPECT_TRUE(std::is_sorted(identity.selectors.begin(), identity.selectors.end()));
  EXPECT_TRUE(identity.has(Selector::unix_uid(::geteuid())));
  EXPECT_FALSE(identity.has(Selector::unix_uid(::geteuid() + 1)));
}

TEST(IdentityResolver, UidAndGidAreThoseOfTheRequest) {
  // The kernel says with each request on whose behalf it is; a process may act for others than its
  // own /proc entry shows.
  const Identity identity = resolve_identity({.uid = 4242, .gid = 4343, .tid = ::getpid()});
  EXPECT_EQ(identity.uid, 4242U);
  EXPECT_EQ(identity.gid, 4343U);
  EXPECT_EQ(texts(identity), expected(4242, 4343, own_groups()));
}

TEST(IdentityResolver, ARequestTellsUidAndGidOfWhoeverWaits) {
  const Identity identity = identity_of_request(Caller{.uid = 12, .gid = 3, .tid = own_tid()});
  EXPECT_EQ(identity.uid, 12U);
  EXPECT_EQ(identity.gid, 3U);
  EXPECT_EQ(identity.pid, 0);
  EXPECT_EQ(texts(identity), expected(12, 3, {}));
  EXPECT_TRUE(std::is_sorted(identity.selectors.begin(), identity.selectors.end()));
  EXPECT_TRUE(identity_of_request(Caller{.uid = 12, .gid = 3, .tid = 0}).selectors.empty());
}

TEST(IdentityResolver, AThreadLeadsToItsProcess) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      EXPECT_NE(own_tid(), ::getpid());
      EXPECT_EQ(Caller::self().tid, own_tid());
      const Identity identity = resolve_identity(Caller::self());
      EXPECT_EQ(identity.pid, ::getpid());
      EXPECT_EQ(texts(identity), expected(::geteuid(), ::getegid(), own_groups()));
      right.fetch_add(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right.load(), 4);
}

TEST(IdentityResolver, NobodyHasNoSelectors) {
  ChildProcess gone([] { return true; });
  ASSERT_TRUE(gone.ready());
  const pid_t dead = gone.pid();
  EXPECT_FALSE(resolve_identity({.uid = 1, .gid = 1, .tid = dead}).selectors.empty());
  gone.end();
  for (const pid_t tid : {0, -1, -12345, INT_MIN, INT_MAX, dead}) {
    const Identity identity = resolve_identity({.uid = 0, .gid = 0, .tid = tid});
    EXPECT_TRUE(identity.selectors.empty()) << tid;
    EXPECT_EQ(identity.pid, 0) << tid;
  }
  EXPECT_TRUE(resolve_identity(Caller{}).selectors.empty());
}

TEST(IdentityResolver, ANumberThatComesBackIsAnotherProcess) {
  if (!is_root()) COFFER_SKIP("setting groups needs root");
  const auto with_group = [](gid_t group) {
    return [group] { return ::setgroups(1, &group) == 0; };
  };
  ChildProcess first(with_group(555));
  ASSERT_TRUE(first.ready());
  const Caller caller{.uid = 1, .gid = 1, .tid = first.pid()};
  EXPECT_EQ(texts(resolve_identity(caller)), expected(1, 1, {555}));
  first.end();
  const ChildProcess second(with_group(777), caller.tid);
  ASSERT_TRUE(second.ready());
  ASSERT_EQ(second.pid(), caller.tid);
  EXPECT_EQ(texts(resolve_identity(caller)), expected(1, 1, {777}));
}

/// What the resolver keeps open relies on it.
TEST(IdentityResolver, FilesOfOneThatIsGoneAreNotTheNexts) {
  if (!is_root()) COFFER_SKIP("choosing a process's number needs root");
  ChildProcess first([] { return true; });
  ASSERT_TRUE(first.ready());
  const pid_t pid = first.pid();
  const std::string entry = "/proc/" + std::to_string(pid) + "/";
  std::vector<UniqueFd> files;
  for (const char* name : {"status", "cgroup"})
    files.emplace_back(::open((entry + name).c_str(), O_RDONLY | O_CLOEXEC));
  std::string buffer;
  for (const UniqueFd& file : files) EXPECT_TRUE(read_record(file.get(), buffer).has_value());
  first.end();
  const ChildProcess second([] { return true; }, pid);
  ASSERT_EQ(second.pid(), pid);
  for (const UniqueFd& file : files) {
    EXPECT_FALSE(read_record(file.get(), buffer).has_value());
    EXPECT_EQ(errno, ESRCH);
  }
}

TEST(IdentityResolver, AnotherNamespacesProcIsNotAsked) {
  EXPECT_TRUE(has_own_proc());
  if (!is_root()) COFFER_SKIP("a pid namespace needs root");
  // Numbers within are other processes outside, whose /proc this is.
  const ChildProcess outside([] {
    if (::unshare(CLONE_NEWPID) != 0) return false;
    const ChildProcess inside([] { return ::getpid() == 1 && !has_own_proc(); });
    return inside.ready() && has_own_proc();
  });
  EXPECT_TRUE(outside.ready());
}

TEST(IdentityResolver, WhatAProcessGivesUpIsGoneAtOnce) {
  if (!is_root()) COFFER_SKIP("setting groups needs root");
  const Caller self = Caller::self();
  std::thread([&] {
    const Caller caller = Caller::self();
    const gid_t group = 777;
    ASSERT_EQ(::syscall(SYS_setgroups, 1, &group), 0);
    EXPECT_EQ(texts(resolve_identity(caller)), expected(self.uid, self.gid, {777}));
    ASSERT_EQ(::syscall(SYS_setgroups, 0, nullptr), 0);
    EXPECT_EQ(texts(resolve_identity(caller)), expected(self.uid, self.gid, {}));
  }).join();
}

TEST(IdentityResolver, AThreadThatEndedHasNoSelectors) {
  pid_t tid = 0;
  std::thread([&] { tid = own_tid(); }).join();
  // Joined is not yet gone from /proc.
  for (int i = 0; i < 1000 && ::access(("/proc/" + std::to_string(tid)).c_str(), F_OK) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(resolve_identity({.uid = 0, .gid = 0, .tid = tid}).selectors.empty());
}

class IdentityGroups : public ::testing::TestWithParam<std::vector<gid_t>> {};

std::vector<gid_t> as_many_as_there_can_be() {
  std::vector<gid_t> groups;
  for (gid_t i = 0; i < 65'536; ++i) groups.push_back(4'294'000'000U + i);
  return groups;
}

INSTANTIATE_TEST_SUITE_P(Sets, IdentityGroups,
                         ::testing::Values(std::vector<gid_t>{}, std::vector<gid_t>{0},
                                           std::vector<gid_t>{5, 100, 65'534},
                                           std::vector<gid_t>{4'294'967'294U, 2'147'483'648U, 7},
                                           std::vector<gid_t>(50, 33), as_many_as_there_can_be()),
                         [](const ::testing::TestParamInfo<std::vector<gid_t>>& groups) {
                           return std::to_string(groups.index) + "_with_" +
                                  std::to_string(groups.param.size());
                         });

TEST_P(IdentityGroups, OfAnotherProcessAreAllSeen) {
  if (!is_root()) COFFER_SKIP("setting groups needs root");
  const std::vector<gid_t>& groups = GetParam();
  const ChildProcess child([&] { return ::setgroups(groups.size(), groups.data()) == 0; });
  ASSERT_TRUE(child.ready());
  const Identity identity = resolve_identity({.uid = 12, .gid = 34, .tid = child.pid()});
  EXPECT_EQ(identity.pid, child.pid());
  EXPECT_TRUE(std::is_sorted(identity.selectors.begin(), identity.selectors.end()));
  EXPECT_TRUE(texts(identity) == expected(12, 34, groups)) << identity.selectors.size();
}

TEST(IdentityResolver, AThreadHasItsOwnGroups) {
  if (!is_root()) COFFER_SKIP("setting groups needs root");
  // The system call changes one thread; it is the C library that changes them all.
  std::thread([] {
    const gid_t groups[] = {777, 888};
    ASSERT_EQ(::syscall(SYS_setgroups, 2, groups), 0);
    EXPECT_EQ(texts(resolve_identity(Caller::self())),
              expected(::geteuid(), ::getegid(), {777, 888}));
  }).join();
  EXPECT_EQ(texts(resolve_identity(Caller::self())),
            expected(::geteuid(), ::getegid(), own_groups()));
}

/// A process may give itself any name of 15 bytes, and its /proc status begins with it.
class IdentityHostileName : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Names, IdentityHostileName,
                         ::testing::Values("\nTgid:\t1", "a\nTgid:\t1\n", "\nGroups:\t0 27 ",
                                           "x\nGroups:\t0\n", "Tgid:\t1", "Groups:\t0",
                                           "\\\nTgid:\t1", "\\nTgid:\t1", "\r\nTgid: 1",
                                           "\vTgid:\t1", "\n\nGroups:\t0\n\n", "\xff\nTgid:\t1", "",
                                           "Name:\t\nTgid:\t1"));

TEST_P(IdentityHostileName, CannotSpoofItsProcessOrGroups) {
  const std::vector<gid_t> groups = is_root() ? std::vector<gid_t>{4711} : own_groups();
  const ChildProcess child([&] {
    if (is_root() && ::setgroups(groups.size(), groups.data()) != 0) return false;
    return ::prctl(PR_SET_NAME, GetParam()) == 0;
  });
  ASSERT_TRUE(child.ready());
  // The name is there: the kernel has it on one line, its newlines escaped.
  std::ifstream status("/proc/" + std::to_string(child.pid()) + "/status");
  std::string first;
  std::string second;
  std::getline(status, first);
  std::getline(status, second);
  ASSERT_TRUE(first.starts_with("Name:")) << first;
  ASSERT_TRUE(second.starts_with("Umask:")) << second;

  const Identity identity = resolve_identity({.uid = 12, .gid = 34, .tid = child.pid()});
  EXPECT_EQ(identity.pid, child.pid());
  EXPECT_EQ(texts(identity), expected(12, 34, groups));
}

}  // namespace
}  // namespace coffer
