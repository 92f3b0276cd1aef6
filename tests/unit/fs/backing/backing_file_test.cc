#include "fs/backing/backing_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/fs_random.h"
#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::HookedSyscalls;
using testing::seed_trace;
using testing::SystemCall;
using testing::TempDir;

class BackingFileTest : public ::testing::Test {
 protected:
  BackingFile make() {
    UniqueFd fd(::open(dir_.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_TRUE(fd.valid());
    return {calls_, std::move(fd), true};
  }
  ByteVector content() {
    const UniqueFd fd(::open(dir_.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    ::fstat(fd.get(), &status);
    ByteVector bytes(static_cast<std::size_t>(status.st_size));
    EXPECT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0), status.st_size);
    return bytes;
  }

  TempDir dir_;
  HookedSyscalls calls_;
};

TEST_F(BackingFileTest, WritesAndReadsWhatIsAsked) {
  const BackingFile file = make();
  EXPECT_TRUE(file.writable());
  ASSERT_TRUE(file.write(3, as_bytes("hello")).ok());
  EXPECT_EQ(content(), (ByteVector{0, 0, 0, 'h', 'e', 'l', 'l', 'o'}));
  ByteVector out(4, 0xee);
  EXPECT_EQ(*file.read(4, out), 4U);
  EXPECT_EQ(as_text(out), "ello");
  EXPECT_EQ(*file.read(6, out), 2U) << "short at the end";
  EXPECT_EQ(*file.read(8, out), 0U);
  EXPECT_EQ(*file.read(1'000'000, out), 0U);
  EXPECT_EQ(*file.read(0, MutableBytes()), 0U);
  ASSERT_TRUE(file.write(100, Bytes()).ok());
  EXPECT_EQ(content().size(), 8U) << "writing nothing changes nothing";
}

TEST_F(BackingFileTest, ShortCountsAndInterruptionsAreContinued) {
  constexpr std::uint64_t kSeed = 51;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  calls_.before = [&](const SystemCall&) { return choose.one_in(3) ? EINTR : 0; };
  calls_.limit = [&](const SystemCall&) { return choose.between(1, 700); };
  const BackingFile file = make();
  for (int round = 0; round < 50; ++round) {
    const std::uint64_t offset = choose.below(10'000);
    const ByteVector data = choose.bytes(choose.below(20'000));
    ASSERT_TRUE(file.write(offset, data).ok());
    ByteVector out(data.size(), 0xee);
    const auto length = file.read(offset, out);
    ASSERT_TRUE(length.ok());
    ASSERT_EQ(*length, data.size());
    ASSERT_EQ(out, data);
  }
  int interruptions = 0;
  calls_.before = [&](const SystemCall&) { return ++interruptions % 3 != 0 ? EINTR : 0; };
  ASSERT_TRUE(file.truncate(123).ok());
  EXPECT_EQ(content().size(), 123U);
  ASSERT_TRUE(file.sync(false).ok());
  ASSERT_TRUE(file.sync(true).ok());
  EXPECT_EQ(interruptions, 9);
}

TEST_F(BackingFileTest, AReadStopsAtTheEndAlthoughCallsAreShort) {
  calls_.limit = [](const SystemCall&) { return std::size_t{7}; };
  const BackingFile file = make();
  ASSERT_TRUE(file.write(0, ByteVector(100, 0x11)).ok());
  ByteVector out(200, 0xee);
  EXPECT_EQ(*file.read(50, out), 50U);
  EXPECT_EQ(out[49], 0x11);
  EXPECT_EQ(out[50], 0xee);
}

TEST_F(BackingFileTest, AWriteThatGetsNowhereIsAFullDisk) {
  int writes = 0;
  calls_.limit = [&](const SystemCall&) { return ++writes > 2 ? std::size_t{0} : std::size_t{10}; };
  const BackingFile file = make();
  const auto done = file.write(0, ByteVector(100, 0x22));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kNoSpace);
  EXPECT_EQ(done.error().errno_value, ENOSPC);
  EXPECT_EQ(content().size(), 20U);
}

TEST_F(BackingFileTest, OffsetsBeyondFourGiB) {
  // On tmpfs, which has room for any offset.
  UniqueFd fd(::memfd_create("backing", MFD_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  const BackingFile file(calls_, std::move(fd), true);
  constexpr std::uint64_t kFar = (std::uint64_t{1} << 50) + 12'345;
  ASSERT_TRUE(file.write(kFar, as_bytes("far")).ok());
  EXPECT_EQ(static_cast<std::uint64_t>(file.status()->st_size), kFar + 3);
  ByteVector out(3);
  EXPECT_EQ(*file.read(kFar, out), 3U);
  EXPECT_EQ(as_text(out), "far");
  ASSERT_TRUE(file.truncate(kFar - 5).ok());
  EXPECT_EQ(static_cast<std::uint64_t>(file.status()->st_size), kFar - 5);
}

TEST_F(BackingFileTest, SyncIsTheKindAskedFor) {
  std::vector<std::string> made;
  calls_.before = [&](const SystemCall& call) {
    made.emplace_back(call.what);
    return 0;
  };
  const BackingFile file = make();
  ASSERT_TRUE(file.sync(true).ok());
  ASSERT_TRUE(file.sync(false).ok());
  EXPECT_EQ(made, (std::vector<std::string>{"fdatasync", "fsync"}));
}

TEST_F(BackingFileTest, ModeOwnerAndTimes) {
  const BackingFile file = make();
  ASSERT_TRUE(file.set_mode(0640).ok());
  ASSERT_TRUE(file.set_owner(static_cast<uid_t>(-1), static_cast<gid_t>(-1)).ok());
  const struct timespec first[2] = {{.tv_sec = 1000, .tv_nsec = 1}, {.tv_sec = 2000, .tv_nsec = 2}};
  ASSERT_TRUE(file.set_times(first).ok());
  const struct timespec second[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                     {.tv_sec = 3000, .tv_nsec = 3}};
  ASSERT_TRUE(file.set_times(second).ok());
  const auto status = file.status();
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->st_mode & 07777, 0640U);
  EXPECT_EQ(status->st_atim.tv_sec, 1000);
  EXPECT_EQ(status->st_mtim.tv_sec, 3000);
  EXPECT_EQ(status->st_mtim.tv_nsec, 3);
}

TEST_F(BackingFileTest, EveryFailureCarriesItsErrno) {
  const BackingFile file = make();
  ASSERT_TRUE(file.write(0, as_bytes("old")).ok());
  const struct timespec times[2] = {};
  ByteVector out(3);
  for (const int reason : {EIO, ENOSPC, EDQUOT, EROFS, EPERM, EBADF}) {
    calls_.before = [&](const SystemCall&) { return reason; };
    EXPECT_EQ(file.read(0, out).error().errno_value, reason);
    EXPECT_EQ(file.write(0, as_bytes("new")).error().errno_value, reason);
    EXPECT_EQ(file.truncate(1).error().errno_value, reason);
    EXPECT_EQ(file.sync(true).error().errno_value, reason);
    EXPECT_EQ(file.sync(false).error().errno_value, reason);
    EXPECT_EQ(file.status().error().errno_value, reason);
    EXPECT_EQ(file.set_mode(0600).error().errno_value, reason);
    EXPECT_EQ(file.set_owner(0, 0).error().errno_value, reason);
    EXPECT_EQ(file.set_times(times).error().errno_value, reason);
  }
  EXPECT_EQ(as_text(content()), "old");
}

TEST_F(BackingFileTest, CanBecomeWritableAlsoWhenDeleted) {
  ASSERT_TRUE(make().write(0, as_bytes("old")).ok());
  for (const bool deleted : {false, true}) {
    BackingFile file(calls_, UniqueFd(::open(dir_.file("f").c_str(), O_RDONLY | O_CLOEXEC)), false);
    if (deleted) ::unlink(dir_.file("f").c_str());
    EXPECT_EQ(file.write(0, as_bytes("new")).error().errno_value, EBADF);
    ASSERT_TRUE(file.make_writable().ok());
    EXPECT_TRUE(file.writable());
    ASSERT_TRUE(file.write(0, as_bytes("new")).ok());
    ByteVector out(3);
    EXPECT_EQ(*file.read(0, out), 3U);
    EXPECT_EQ(as_text(out), "new");
    // Once is enough.
    calls_.before = [](const SystemCall&) { return EIO; };
    EXPECT_TRUE(file.make_writable().ok());
    calls_.before = nullptr;
  }
}

TEST_F(BackingFileTest, FailingToBecomeWritableLeavesItReadable) {
  ASSERT_TRUE(make().write(0, as_bytes("old")).ok());
  BackingFile file(calls_, UniqueFd(::open(dir_.file("f").c_str(), O_RDONLY | O_CLOEXEC)), false);
  calls_.before = [](const SystemCall& call) { return call.what == "openat" ? EROFS : 0; };
  EXPECT_EQ(file.make_writable().error().errno_value, EROFS);
  EXPECT_FALSE(file.writable());
  ByteVector out(3);
  EXPECT_EQ(*file.read(0, out), 3U);
}

TEST_F(BackingFileTest, OthersGoOnWhileItBecomesWritable) {
  ASSERT_TRUE(make().write(0, as_bytes("content")).ok());
  for (int round = 0; round < 200; ++round) {
    BackingFile file(calls_, UniqueFd(::open(dir_.file("f").c_str(), O_RDONLY | O_CLOEXEC)), false);
    const auto inode = file.status()->st_ino;
    std::atomic<bool> done{false};
    std::thread other([&] {
      while (!done.load()) {
        const auto status = file.status();
        ASSERT_TRUE(status.ok());
        ASSERT_EQ(status->st_ino, inode);
        // Whatever is opened now must not take the number that the file gives up.
        const UniqueFd decoy(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      }
    });
    ASSERT_TRUE(file.make_writable().ok());
    done = true;
    other.join();
    ASSERT_TRUE(file.write(0, as_bytes("C")).ok());
  }
}

TEST_F(BackingFileTest, AFailureInTheMiddleIsReported) {
  const BackingFile file = make();
  ASSERT_TRUE(file.write(0, ByteVector(100, 0x33)).ok());
  int left = 2;
  calls_.limit = [](const SystemCall&) { return std::size_t{10}; };
  calls_.before = [&](const SystemCall&) { return left-- == 0 ? EIO : 0; };
  EXPECT_EQ(file.write(0, ByteVector(100, 0x44)).error().errno_value, EIO);
  left = 3;
  ByteVector out(100);
  EXPECT_EQ(file.read(0, out).error().errno_value, EIO);
}

}  // namespace
}  // namespace coffer
