// What the resolver takes from elsewhere than one thread's /proc entry: contents of files, mounts,
// the databases of users and groups, the machine.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <optional>

#include "fs/identity/account_names.h"
#include "fs/identity/executable_hashes.h"
#include "fs/identity/machine.h"
#include "fs/identity/mounts.h"
#include "fs/identity/thread_status.h"
#include "keystore/base/unique_fd.h"
#include "tests/support/child_process.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/fs/identity/programs.h"

namespace coffer {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class Hashes : public ::testing::Test {
 protected:
  void write(const std::string& content, const char* name = "file") const {
    std::ofstream(dir_.file(name), std::ios::binary) << content;
  }
  [[nodiscard]] UniqueFd open(const char* name = "file") const {
    return UniqueFd(::open(dir_.file(name).c_str(), O_PATH | O_CLOEXEC));
  }
  static FileVersion version_of(const UniqueFd& file) { return find_file(file.get(), "")->version; }
  static std::optional<std::string> hex_of(ExecutableHashes& hashes, const UniqueFd& file) {
    const auto hashed = hashes.of(file.get(), version_of(file));
    if (!hashed.has_value()) return std::nullopt;
    return to_hex(hashed->digest);
  }
  /// Long enough that another change would show.
  static void settle() { std::this_thread::sleep_for(200ms); }

  testing::TempDir dir_;
};

TEST_F(Hashes, AreOfTheWholeFile) {
  ExecutableHashes hashes;
  for (const std::size_t size : {0UL, 1UL, 262'143UL, 262'144UL, 262'145UL, 1'000'000UL}) {
    write(std::string(size, 'x') + "y");
    EXPECT_EQ(hex_of(hashes, open()), testing::sha256_of(dir_.file("file"))) << size;
  }
}

TEST_F(Hashes, AreReadOnceForEachVersion) {
  ExecutableHashes hashes;
  write("one");
  settle();
  const auto first = hex_of(hashes, open());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(hex_of(hashes, open()), first);
  EXPECT_EQ(hashes.reads(), 1U);
  // As long as before, and with the time of modification put back.
  const struct timespec before[2] = {{0, UTIME_OMIT}, {1'000'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, dir_.file("file").c_str(), before, 0), 0);
  settle();
  EXPECT_EQ(hex_of(hashes, open()), first);
  write("two");
  ASSERT_EQ(::utimensat(AT_FDCWD, dir_.file("file").c_str(), before, 0), 0);
  settle();
  EXPECT_EQ(hex_of(hashes, open()), testing::sha256_of(dir_.file("file")));
  EXPECT_NE(hex_of(hashes, open()), first);
  EXPECT_EQ(hashes.reads(), 3U);
}

TEST_F(Hashes, OfAFileThatJustChangedAreNotKept) {
  ExecutableHashes hashes;
  write("one");
  const auto hashed = hashes.of(open().get(), version_of(open()));
  ASSERT_TRUE(hashed.has_value());
  EXPECT_FALSE(hashed->lasting) << "the next change may have the same time";
  EXPECT_EQ(hashes.kept(), 0U);
  settle();
  EXPECT_TRUE(hashes.of(open().get(), version_of(open()))->lasting);
  EXPECT_EQ(hashes.kept(), 1U);
}

TEST_F(Hashes, AreOfTheVersionThatWasFoundOrOfNone) {
  ExecutableHashes hashes;
  write("one");
  const FileVersion before = version_of(open());
  settle();
  write("two");
  EXPECT_EQ(hashes.of(open().get(), before), std::nullopt);
  EXPECT_EQ(hashes.kept(), 0U);
}

TEST_F(Hashes, OfLargeFilesAreNotMade) {
  ExecutableHashes hashes(10);
  write("0123456789");
  EXPECT_NE(hex_of(hashes, open()), std::nullopt);
  write("0123456789a");
  EXPECT_EQ(hex_of(hashes, open()), std::nullopt);
  EXPECT_EQ(hashes.reads(), 1U);
}

TEST_F(Hashes, AreForgottenOldestFirst) {
  ExecutableHashes hashes(ExecutableHashes::kMaxSize, 2);
  for (const char* name : {"a", "b", "c"}) write(name, name);
  settle();
  for (const char* name : {"a", "b", "c"}) hex_of(hashes, open(name));
  EXPECT_EQ(hashes.kept(), 2U);
  hex_of(hashes, open("c"));
  EXPECT_EQ(hashes.reads(), 3U);
  hex_of(hashes, open("a"));
  EXPECT_EQ(hashes.reads(), 4U);
}

TEST_F(Hashes, AreReadOnceForAllWhoAskAtOnce) {
  ExecutableHashes hashes;
  write(std::string(std::size_t{8} << 20U, 'x'));
  settle();
  const std::string expected = testing::sha256_of(dir_.file("file"));
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { right += hex_of(hashes, open()) == expected ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
  EXPECT_EQ(hashes.reads(), 1U);
}

TEST_F(Hashes, AreOfRegularFilesAlone) {
  EXPECT_EQ(find_file(AT_FDCWD, dir_.path().c_str()), std::nullopt);
  EXPECT_EQ(find_file(AT_FDCWD, "/dev/null"), std::nullopt);
  EXPECT_EQ(find_file(AT_FDCWD, dir_.file("missing").c_str()), std::nullopt);
}

TEST(Mounts, AreReadWithTheirTypes) {
  const auto mounts = parse_mounts(
      "36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n"
      "7 36 0:50 / /srv/a\\040-\\040b rw - fuse.coffer store rw,user_id=0\n"
      "8 36 0:51 / /b rw shared:1 master:2 propagate_from:3 - fuse x rw\n"
      "9 36 8:1 / /c rw - fuseblk /dev/sdb1 rw\n"
      "10 36 0:53 / /d rw - fusectl none rw\n"
      "11 36 0:54 / /e rw - \n"
      "x 36 0:55 / /f rw - ext4 a rw\n"
      "12\n\n"
      "13 36 0:56 / /g rw - tmpfs none rw");
  EXPECT_EQ(mounts.size(), 6U);
  EXPECT_EQ(kind_in(mounts, 36), MountKind::kOther);
  for (const std::uint64_t id : {7U, 8U, 9U})
    EXPECT_EQ(kind_in(mounts, id), MountKind::kFuse) << id;
  EXPECT_EQ(kind_in(mounts, 10), MountKind::kOther);
  EXPECT_EQ(kind_in(mounts, 13), MountKind::kOther);
  for (const std::uint64_t id : {0U, 11U, 12U, 35U, 98U})
    EXPECT_EQ(kind_in(mounts, id), MountKind::kNone) << id;
  EXPECT_TRUE(parse_mounts("").empty());
}

TEST(Mounts, OfThisProcessAreThoseThatThereAreNow) {
  if (!testing::is_root()) COFFER_SKIP("mounting needs root");
  const testing::TempDir dir;
  const testing::ChildProcess tester([&] {
    const auto mounted = testing::Mount::tmpfs(dir.path(), 1 << 20);
    OwnMounts mounts;
    const auto kind_of = [&](const std::string& path) {
      std::ofstream(path).put('x');
      return mounts.kind_of(find_file(AT_FDCWD, path.c_str())->mount);
    };
    if (mounted == nullptr || kind_of(dir.file("x")) != MountKind::kOther) return false;
    std::filesystem::create_directory(dir.file("m"));
    const auto later = testing::Mount::tmpfs(dir.file("m"), 1 << 20);
    if (later == nullptr || kind_of(dir.file("m/x")) != MountKind::kOther) return false;
    const UniqueFd held(::open(dir.file("m/x").c_str(), O_PATH | O_CLOEXEC));
    const std::uint64_t id = find_file(held.get(), "")->mount;
    return ::umount2(dir.file("m").c_str(), MNT_DETACH) == 0 &&
           mounts.kind_of(id) == MountKind::kNone;
  });
  EXPECT_TRUE(tester.ready());
}

TEST(AccountNames, AreTheSystems) {
  AccountNames names;
  EXPECT_EQ(names.user(0).name, "root");
  EXPECT_EQ(names.group(0).name, "root");
  const auto nobody = names.user(4'242'424'242U);
  EXPECT_TRUE(nobody.known);
  EXPECT_EQ(nobody.name, std::nullopt);
}

TEST(AccountNames, AreAskedForAgainAfterAWhile) {
  AccountNames names;
  const AccountNames::Time now = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) {
    names.user(0, now);
    names.group(0, now);
    names.user(4'242'424'242U, now);
  }
  EXPECT_EQ(names.questions(), 3U);
  names.user(0, now + AccountNames::kLifetime - 1ns);
  EXPECT_EQ(names.questions(), 3U);
  EXPECT_EQ(names.user(0, now + AccountNames::kLifetime).name, "root");
  EXPECT_EQ(names.questions(), 4U);
}

TEST(Machine, HasANameInLowerCase) {
  std::string name = testing::content_of("/proc/sys/kernel/hostname");
  name.pop_back();
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  EXPECT_EQ(machine_name(), name);
}

TEST(Machine, HasTheIdOfItsFile) {
  std::string id = testing::content_of("/etc/machine-id");
  if (!id.empty()) id.pop_back();
  EXPECT_EQ(machine_id(), id.size() == 32 ? std::optional(id) : std::nullopt);
}

TEST(Machine, LabelsEndWithTheirText) {
  const std::string label = "system_u:system_r:container_t:s0:c1,c2";
  for (const std::string& end : {""s, "\n"s, "\0"s, "\0\n"s})
    EXPECT_EQ(parse_label(label + end), label);
  for (const std::string& text :
       {""s, "unconfined\n"s, "docker-default (enforce)\n"s, label + "\n\n", label + " x"}) {
    EXPECT_EQ(parse_label(text), std::nullopt) << text;
  }
}

TEST(ThreadStatus, TellsWhoRunsAProgram) {
  const std::string begin = "Name:\tx\nTgid:\t7\nGroups:\t1 2 \n";
  EXPECT_FALSE(parse_thread_status(begin + "Kthread:\t0\nVmSize:\t 3060 kB\n")->without_program);
  EXPECT_FALSE(parse_thread_status(begin + "VmSize:\t 3060 kB\n")->without_program);
  EXPECT_TRUE(parse_thread_status(begin + "Kthread:\t1\n")->without_program);
  EXPECT_TRUE(parse_thread_status(begin + "Kthread:\t1\nVmSize:\t 3060 kB\n")->without_program);
  EXPECT_TRUE(parse_thread_status(begin)->without_program)
      << "a kernel before 6.8 has no such line";
}

TEST(ThreadStatus, TakesTheFirstLineOfEachLabel) {
  const auto status = parse_thread_status(
      "Name:\tx\nTgid:\t7\nPid:\t8\nTgid:\t9\nGroups:\t1 2 "
      "\nGroups:\t3\nNStgid:\t7\nNSpid:\t8\t2\t1\n"
      "NSpid:\t8\nVmSize:\t 3060 kB\nGroups:\t4\n");
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->tgid, 7);
  EXPECT_EQ(status->groups, (std::vector<gid_t>{1, 2}));
  EXPECT_EQ(status->numbers, 3U);
  EXPECT_FALSE(status->without_program);
}

TEST(ThreadStatus, ThatLacksALineOrHasItInAnotherFormIsNotUnderstood) {
  for (const char* const text :
       {"", "Tgid:\t7\n", "Groups:\t1\n", "VmSize:\t1 kB\nTgid:\t7\nGroups:\t1\n",
        "Tgid:\t7 8\nGroups:\t1\n", "Tgid:\t0\nGroups:\t1\n", "Tgid:\tx\nGroups:\t1\n",
        "Tgid:\t7\nGroups:\t1 x\n", "Tgid:\t7\nGroups:\t1\nNSpid:\tx\n",
        " Tgid:\t7\nGroups:\t\n"}) {
    EXPECT_FALSE(parse_thread_status(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace coffer
