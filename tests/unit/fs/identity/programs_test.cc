// What is said of the programs that other processes run.

#include "tests/unit/fs/identity/programs.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <atomic>
#include <optional>

#include "fs/identity/executable.h"
#include "fs/identity/identity_resolver.h"
#include "keystore/base/unique_fd.h"
#include "tests/support/child_process.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::is_root;
using testing::Program;
using testing::TempDir;

constexpr Sources kProgram = Sources::of(Source::kExecutable, Source::kExecutableHash);

/// The value of the only selector of a kind.
std::optional<std::string> value_in(const Identity& identity, const std::string& kind) {
  std::optional<std::string> value;
  for (const Selector& selector : identity.selectors) {
    if (!selector.text().starts_with(kind)) continue;
    EXPECT_FALSE(value.has_value()) << selector.text();
    value = selector.text().substr(kind.size());
  }
  return value;
}

Identity identity_of(pid_t tid, Sources asked = kProgram) {
  return resolve_identity({.uid = 12, .gid = 34, .tid = tid}, asked);
}

struct Seen {
  std::optional<std::string> path;
  std::optional<std::string> sha256;
  Sources known;
  bool operator==(const Seen&) const = default;
};

Seen seen_of(pid_t tid) {
  const Identity identity = identity_of(tid);
  return {.path = value_in(identity, "unix:path:"),
          .sha256 = value_in(identity, "unix:sha256:"),
          .known = identity.known};
}

void PrintTo(const Seen& seen, std::ostream* out) {
  *out << seen.path.value_or("-") << " " << seen.sha256.value_or("-") << " " << seen.known.bits;
}

class Programs : public ::testing::Test {
 protected:
  std::string copy(const std::string& name, const std::string& tail = "",
                   const std::string& program = "/bin/sleep") {
    return testing::copy_program(program, dir_.file(name), tail);
  }

  TempDir dir_;
};

TEST_F(Programs, AreKnownByPathAndContent) {
  const std::string a = copy("a");
  const std::string b = copy("b", "x");
  const Program first({a, "100"});
  const Program second({b, "100"});
  ASSERT_TRUE(first.runs(a) && second.runs(b));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(seen_of(first.pid()), (Seen{a, testing::sha256_of(a), kProgram}));
    EXPECT_EQ(seen_of(second.pid()), (Seen{b, testing::sha256_of(b), kProgram}));
  }
  EXPECT_NE(testing::sha256_of(a), testing::sha256_of(b));
  // No more than was asked for, and as much as was asked for after less.
  const Identity path = identity_of(first.pid(), Sources::of(Source::kExecutable));
  EXPECT_EQ(path.known, Sources::of(Source::kExecutable));
  EXPECT_EQ(value_in(path, "unix:sha256:"), std::nullopt);
  EXPECT_EQ(value_in(identity_of(first.pid(), Sources{}), "unix:path:"), std::nullopt);
  EXPECT_EQ(seen_of(first.pid()), (Seen{a, testing::sha256_of(a), kProgram}));
}

TEST_F(Programs, OfThreadsAreTheirProcesss) {
  const std::string own = std::filesystem::read_symlink("/proc/self/exe");
  std::thread([&] {
    const auto tid = static_cast<pid_t>(::syscall(SYS_gettid));
    ASSERT_NE(tid, ::getpid());
    EXPECT_EQ(value_in(identity_of(tid), "unix:path:"), own);
    EXPECT_EQ(value_in(identity_of(tid), "unix:sha256:"), testing::sha256_of(own));
  }).join();
}

TEST_F(Programs, WithoutTheirNameHaveNoPath) {
  const std::string a = copy("a");
  const std::string b = copy("b", "x");
  const std::string hash = testing::sha256_of(a);
  const Program program({a, "100"});
  ASSERT_TRUE(program.runs(a));
  EXPECT_EQ(seen_of(program.pid()).path, a);
  // Another file is put at its name: whether that is what runs is not to be told from the name.
  std::filesystem::rename(b, a);
  const Seen replaced{{}, hash, Sources::of(Source::kExecutableHash)};
  EXPECT_EQ(seen_of(program.pid()), replaced);
  // A file that is called like that which is gone.
  copy("a (deleted)");
  EXPECT_EQ(seen_of(program.pid()), replaced);
  const Program strange({dir_.file("a (deleted)"), "100"});
  ASSERT_TRUE(strange.runs(dir_.file("a (deleted)")));
  EXPECT_EQ(seen_of(strange.pid()), replaced);
}

TEST_F(Programs, AtANameOfAnotherFormHaveNoPath) {
  const std::string odd = copy("a\nunix:path:\x1b[m");
  const Program program({odd, "100"});
  ASSERT_TRUE(program.runs(odd));
  EXPECT_EQ(seen_of(program.pid()), (Seen{{}, testing::sha256_of(odd), kProgram}));
}

TEST_F(Programs, MovedAreAtTheirNewPlace) {
  const std::string a = copy("a");
  const Program program({a, "100"});
  ASSERT_TRUE(program.runs(a));
  EXPECT_EQ(seen_of(program.pid()).path, a);
  std::filesystem::create_directory(dir_.file("deep"));
  std::filesystem::rename(a, dir_.file("deep/a"));
  EXPECT_EQ(seen_of(program.pid()).path, dir_.file("deep/a"));
  // No change of the file itself, which the kernel would note with it.
  std::filesystem::rename(dir_.file("deep"), dir_.file("deeper"));
  EXPECT_EQ(seen_of(program.pid()).path, dir_.file("deeper/a"));
}

TEST_F(Programs, ByAnotherNameAreAtThatName) {
  const std::string a = copy("a", "", "/bin/sh");
  const std::string b = dir_.file("b");
  std::filesystem::create_hard_link(a, b);
  // Executes itself by its other name when it is told to.
  const std::string go = dir_.file("go");
  const Program program(
      {a, "-c", "while ! [ -e " + go + " ]; do :; done; exec " + b + " -c 'while :; do :; done'"});
  ASSERT_TRUE(program.runs(a));
  EXPECT_EQ(seen_of(program.pid()), (Seen{a, testing::sha256_of(a), kProgram}));
  std::ofstream(go).put('x');
  ASSERT_TRUE(program.runs(b));
  EXPECT_EQ(seen_of(program.pid()), (Seen{b, testing::sha256_of(b), kProgram}));
}

TEST_F(Programs, ThatExecuteOthersAreNeverAMixture) {
  const std::string a = copy("a", "", "/bin/sh");
  const std::string b = copy("b", "x", "/bin/sh");
  std::ofstream(dir_.file("1")) << "exec " << b << " " << dir_.file("2") << "\n";
  std::ofstream(dir_.file("2")) << "exec " << a << " " << dir_.file("1") << "\n";
  const std::string hash_a = testing::sha256_of(a);
  const std::string hash_b = testing::sha256_of(b);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // what they contain is kept then
  const Program program({a, dir_.file("1")});
  ASSERT_TRUE(testing::wait_until([&] { return seen_of(program.pid()).path == a; }));
  int as_a = 0;
  int as_b = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (std::chrono::steady_clock::now() < end) {
    const Seen seen = seen_of(program.pid());
    if (seen == Seen{a, hash_a, kProgram}) {
      ++as_a;
    } else if (seen == Seen{b, hash_b, kProgram}) {
      ++as_b;
    } else {
      // Too quick to be seen as one or the other: then as neither.
      ASSERT_EQ(seen, Seen{});
    }
  }
  EXPECT_GT(as_a, 10);
  EXPECT_GT(as_b, 10);
}

TEST_F(Programs, OfANumberThatComesBackAreNeverAMixture) {
  if (!is_root()) COFFER_SKIP("choosing a process's number needs root");
  const std::string programs[] = {copy("a"), copy("b", "x")};
  const std::string hashes[] = {testing::sha256_of(programs[0]), testing::sha256_of(programs[1])};
  const pid_t pid = ChildProcess([] { return true; }).pid();
  std::atomic<bool> stop = false;
  int right = 0;
  std::thread watcher([&] {
    while (!stop) {
      const Identity identity = identity_of(
          pid, Sources::of(Source::kExecutable, Source::kExecutableHash, Source::kGroups));
      const auto group = value_in(identity, "unix:supplementary_gid:");
      const auto path = value_in(identity, "unix:path:");
      const auto hash = value_in(identity, "unix:sha256:");
      for (const int i : {0, 1}) {
        if (path != programs[i]) continue;
        if (hash == hashes[i] && group == std::to_string(7000 + i)) ++right;
        EXPECT_EQ(group, std::to_string(7000 + i));
        EXPECT_EQ(hash, hashes[i]);
      }
    }
  });
  for (int i = 0; i < 300; ++i) {
    // The child is one of two who never share anything, and both have the same number.
    const gid_t group = 7000 + static_cast<gid_t>(i % 2);
    ChildProcess child(
        [&] {
          // The C library's would have its other threads follow, which this copy does not have.
          ::syscall(SYS_setgroups, 1, &group);
          ::execl(programs[i % 2].c_str(), "sleep", "0.005", nullptr);
          return false;
        },
        pid);
  }
  stop = true;
  watcher.join();
  EXPECT_GT(right, 20);
}

/// Goes into mounts of its own, where another file lies at the name; and back out, which only what
/// it has open survives.
TEST_F(Programs, OfOtherMountsHaveNoPathHere) {
  if (!is_root()) COFFER_SKIP("mounting needs root");
  std::filesystem::create_directory(dir_.file("bin"));
  const std::string here = copy("bin/tool", "here");
  const std::string other = copy("other", "there");
  const std::string over = dir_.file("bin");
  ChildProcess inside([&] {
    return ::unshare(CLONE_NEWNS) == 0 &&
           ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("tmpfs", over.c_str(), "tmpfs", 0, "mode=755") == 0 &&
           std::filesystem::copy_file(other, here);
  });
  ASSERT_TRUE(inside.ready());
  const std::string root = "/proc/" + std::to_string(inside.pid()) + "/root";
  const Seen expected{{}, testing::sha256_of(other), kProgram};
  {
    // In those mounts: for the kernel the program lies at the name of the other.
    const Program within(
        {"/usr/bin/nsenter", "-t", std::to_string(inside.pid()), "-m", here, "100"});
    ASSERT_TRUE(within.runs(here));
    EXPECT_EQ(seen_of(within.pid()), expected);
  }
  // In this process's mounts, executing a file that only those have.
  const Program passed({root + here, "100"});
  ASSERT_TRUE(passed.runs(here));
  ASSERT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(passed.pid()) + "/ns/mnt"),
            std::filesystem::read_symlink("/proc/self/ns/mnt"));
  const Seen seen = seen_of(passed.pid());
  EXPECT_EQ(seen.path, std::nullopt) << "it would pass for the file that lies here";
  EXPECT_NE(seen.sha256, testing::sha256_of(here));
  const Program honest({here, "100"});
  ASSERT_TRUE(honest.runs(here));
  EXPECT_EQ(seen_of(honest.pid()), (Seen{here, testing::sha256_of(here), kProgram}));
}

TEST_F(Programs, OfMountsThatAreNoMoreHaveNoPath) {
  if (!is_root()) COFFER_SKIP("mounting needs root");
  // In a process of its own, which alone sees these mounts.
  const ChildProcess tester([&] {
    std::filesystem::create_directories(dir_.file("m"));
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", dir_.file("m").c_str(), "tmpfs", 0, "mode=755") != 0)
      return false;
    std::filesystem::create_directory(dir_.file("m/usr"));
    const std::string tool = copy("m/usr/tool");
    const Program program({tool, "100"});
    const UniqueFd entry(
        ::open(("/proc/" + std::to_string(program.pid())).c_str(), O_PATH | O_CLOEXEC));
    OwnMounts mounts;
    ExecutableHashes hashes;
    ExecutableOfThread thread;
    const auto path = [&] {
      const Executable* const executable = thread.read(entry.get(), kProgram, mounts, hashes);
      return executable == nullptr ? "unknown" : executable->path.value_or("none");
    };
    if (!program.runs(tool) || path() != tool) return false;
    // The kernel then says "/usr/tool".
    return ::umount2(dir_.file("m").c_str(), MNT_DETACH) == 0 && program.runs("/usr/tool") &&
           path() == "none";
  });
  EXPECT_TRUE(tester.ready());
}

TEST_F(Programs, OfOthersAreNotKnownToWhoMayNotLook) {
  if (!is_root()) COFFER_SKIP("another user is needed");
  const std::string a = copy("a");
  const Program program({a, "100"});
  ASSERT_TRUE(program.runs(a));
  const testing::AsNobody nobody;
  const Identity identity = identity_of(
      program.pid(), Sources::of(Source::kExecutable, Source::kExecutableHash, Source::kGroups));
  EXPECT_EQ(identity.known, Sources::of(Source::kGroups));
  EXPECT_EQ(identity.pid, program.pid());
  EXPECT_TRUE(identity.has(Selector::unix_uid(12)));
  EXPECT_TRUE(identity.may_have(*Selector::parse("unix:path:" + a)));
}

}  // namespace
}  // namespace coffer
