// What a sync promises, whatever else goes on.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <thread>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::ContentWorld;
using testing::drop_binding;
using testing::HookedSyscalls;
using testing::MemoryFile;
using testing::SystemCall;
using testing::TempDir;
using testing::test_binding;

class EncryptedFileSync : public ::testing::Test {
 protected:
  [[nodiscard]] ByteVector slot(unsigned index) const { return backing_.bytes(index * 4096, 4096); }
  /// The slot with the highest generation.
  [[nodiscard]] unsigned newest_slot() const {
    const RawHeader raw = *read_raw_header(backing_.open());
    const auto first = decode_header(raw.slots[0]);
    const auto second = decode_header(raw.slots[1]);
    return !second || (first && first->generation > second->generation) ? 0 : 1;
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
};

TEST_F(EncryptedFileSync, WritesDataNodesHeaderAndThenSyncs) {
  for (const bool data_only : {false, true}) {
    const MemoryFile backing;
    const auto file = world_.create(backing, 12, keys_, calls_);
    std::string order;
    calls_.before = [&](const SystemCall& call) {
      if (call.what == "pwrite") order += call.offset < 8192 ? "header " : "body ";
      if (call.what == "fsync" || call.what == "fdatasync") order += call.what;
      return 0;
    };
    ASSERT_TRUE(file->write(0, ByteVector(100, 'x')).ok());
    ASSERT_TRUE(file->append(as_bytes("y")).ok());
    ASSERT_TRUE(file->sync(data_only).ok());
    EXPECT_EQ(order, std::string("body body body header ") + (data_only ? "fdatasync" : "fsync"));
    calls_.before = {};
  }
}

TEST_F(EncryptedFileSync, SyncsAlsoWhatIsCommittedAlready) {
  const auto file = world_.create(backing_, 12, keys_, calls_);
  ASSERT_TRUE(file->write(0, ByteVector(100, 'x')).ok());
  ASSERT_TRUE(file->commit().ok());
  int syncs = 0;
  calls_.before = [&](const SystemCall& call) {
    EXPECT_NE(call.what, "pwrite");
    if (call.what == "fsync") ++syncs;
    return 0;
  };
  ASSERT_TRUE(file->sync(false).ok());
  EXPECT_EQ(syncs, 1);
}

TEST_F(EncryptedFileSync, CommitsBetweenSyncsSpareTheDurableSlot) {
  const auto file = world_.create(backing_, 12, keys_);
  for (int round = 0; round < 6; ++round) {
    ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
    ASSERT_TRUE(file->sync(round % 2 == 0).ok());
    const unsigned durable = newest_slot();
    const ByteVector before = slot(durable);
    for (unsigned i = 0; i < 5; ++i) {
      ASSERT_TRUE(drop_binding(*file, test_binding(1)).ok());
      ASSERT_TRUE(file->add_binding(test_binding(2 + i)).ok());
      EXPECT_EQ(newest_slot(), 1 - durable);
      ASSERT_EQ(slot(durable), before);
    }
  }
}

TEST_F(EncryptedFileSync, AFailedSyncMakesNothingDurable) {
  const auto file = world_.create(backing_, 12, keys_, calls_);
  ASSERT_TRUE(file->append(as_bytes("a")).ok());
  ASSERT_TRUE(file->sync(false).ok());
  const unsigned durable = newest_slot();
  const ByteVector before = slot(durable);
  calls_.before = [](const SystemCall& call) { return call.what == "fsync" ? EIO : 0; };
  ASSERT_TRUE(file->append(as_bytes("b")).ok());
  EXPECT_EQ(file->sync(false).error().errno_value, EIO);
  calls_.before = nullptr;
  ASSERT_TRUE(file->append(as_bytes("c")).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(slot(durable), before);
}

TEST_F(EncryptedFileSync, NoCommitOverwritesWhatASyncMakesDurable) {
  // One thread syncs, two others commit all the time. At the moment of each fsync the newest header
  // is the one that becomes durable: from then on no write may touch its slot until the next.
  const auto file = world_.create(backing_, 12, keys_, calls_);
  ASSERT_TRUE(file->write(0, ByteVector(200'000, 'x')).ok());
  std::atomic<int> durable{-1};
  std::atomic<int> overwritten{0};
  calls_.before = [&](const SystemCall& call) {
    if (!backing_.is(call.fd)) return 0;
    if (call.what == "fsync" || call.what == "fdatasync") {
      durable = static_cast<int>(newest_slot());
    }
    if (call.what == "pwrite" && call.offset < 8192 &&
        static_cast<int>(call.offset / 4096) == durable.load()) {
      overwritten.fetch_add(1);
    }
    return 0;
  };
  std::atomic<bool> stop{false};
  std::atomic<int> commits{0};
  std::vector<std::thread> committers;
  for (unsigned t = 0; t < 2; ++t) {
    committers.emplace_back([&, t] {
      for (unsigned i = 0; !stop.load(); ++i) {
        if (t == 0) {
          ASSERT_TRUE(file->write(i % 5000, as_bytes("c")).ok());
          ASSERT_TRUE(file->commit().ok());
        } else if (i % 2 == 0) {
          ASSERT_TRUE(file->add_binding(test_binding(7)).ok());
        } else {
          ASSERT_TRUE(drop_binding(*file, test_binding(7)).ok());
        }
        commits.fetch_add(1);
      }
    });
  }
  // A reader makes them all wait for the file, so that each of them may be the next to have it.
  std::thread reader([&] {
    ByteVector out(200'000);
    while (!stop.load()) {
      ASSERT_TRUE(file->read(0, out).ok());
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 300 || commits.load() < 1000; ++i) ASSERT_TRUE(file->sync(false).ok());
  stop = true;
  reader.join();
  for (std::thread& thread : committers) thread.join();
  EXPECT_EQ(overwritten.load(), 0);
}

TEST_F(EncryptedFileSync, KilledWhileItIsReplacedItIsAsBeforeOrEmptyOrAsAfter) {
  // Emptied and written anew, as by `cp` and most programs that save.
  const ByteVector data(1'000'000, 'x');
  const auto file = world_.create(backing_, 12, keys_, calls_);
  ASSERT_TRUE(file->write(0, data).ok());
  ASSERT_TRUE(file->commit().ok());
  std::set<std::uint64_t> sizes;
  const auto expect_whole = [&] {
    MemoryFile left;
    left.copy_from(backing_);
    const auto opened = world_.open(left, keys_);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    ByteVector out(data.size());
    const auto length = (*opened)->read(0, out);
    ASSERT_TRUE(length.ok()) << length.error().message();
    EXPECT_EQ(std::count(out.begin(), out.end(), 'x'), static_cast<std::ptrdiff_t>(*length));
    sizes.insert(*length);
  };
  calls_.before = [&](const SystemCall&) {
    expect_whole();
    return 0;
  };
  ASSERT_TRUE(file->truncate(0).ok());
  ASSERT_TRUE(file->write(0, data).ok());
  ASSERT_TRUE(file->commit().ok());
  calls_.before = {};
  expect_whole();
  EXPECT_EQ(sizes, (std::set<std::uint64_t>{0, data.size()}));
}

TEST_F(EncryptedFileSync, AFileOpenedForReadingCanBecomeWritable) {
  const TempDir temp;
  const std::string path = temp.file("f");
  const auto backing = [&](int flags) {
    return BackingFile(real_syscalls(), UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600)),
                       (flags & O_RDWR) != 0);
  };
  {
    auto made = EncryptedFile::create(world_.context(), backing(O_RDWR | O_CREAT), keys_, 12,
                                      test_binding());
    ASSERT_TRUE(made.ok());
    ASSERT_TRUE((*made)->write(0, as_bytes("before")).ok());
    ASSERT_TRUE((*made)->commit().ok());
  }
  BackingFile reading = backing(O_RDONLY);
  const RawHeader raw = *read_raw_header(reading);
  auto opened = EncryptedFile::open(world_.context(), std::move(reading), raw, keys_,
                                    ContentWorld::kOnRecord);
  ASSERT_TRUE(opened.ok());
  EncryptedFile& file = **opened;
  EXPECT_EQ(file.write(0, as_bytes("X")).error().errno_value, EBADF);
  // Others ask for its status and read it meanwhile.
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load()) {
      ASSERT_TRUE(S_ISREG(file.backing().status()->st_mode));
      ByteVector out(5);
      ASSERT_TRUE(file.read(1, out).ok());
      ASSERT_EQ(as_text(out), "efore");
    }
  });
  ASSERT_TRUE(file.make_writable().ok());
  ASSERT_TRUE(file.make_writable().ok());
  ASSERT_TRUE(file.write(0, as_bytes("B")).ok());
  stop = true;
  other.join();
  ASSERT_TRUE(file.commit().ok());
  ByteVector out(6);
  ASSERT_TRUE(file.read(0, out).ok());
  EXPECT_EQ(as_text(out), "Before");
}

}  // namespace
}  // namespace coffer
