// Many readers and one that changes the file: every read is of one state. Of most use under the
// thread sanitizer.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/fs_content.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentWorld;
using testing::MemoryFile;
using testing::seed_trace;
using testing::test_binding;

struct ThreadSetup {
  AeadEngine::Choice engine;
  unsigned chunk_log2;
  std::size_t cache_bytes;
};

class EncryptedFileThreads : public ::testing::TestWithParam<ThreadSetup> {
 protected:
  [[nodiscard]] std::uint64_t chunk() const { return std::uint64_t{1} << GetParam().chunk_log2; }

  /// True if all bytes are one letter.
  static bool uniform(Bytes bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [&](std::uint8_t b) { return b == bytes[0]; });
  }

  ContentWorld world_{GetParam().engine, GetParam().cache_bytes};
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  std::unique_ptr<EncryptedFile> file_ = world_.create(backing_, GetParam().chunk_log2, keys_);
};

INSTANTIATE_TEST_SUITE_P(Setups, EncryptedFileThreads,
                         ::testing::Values(ThreadSetup{AeadEngine::Choice::kFastest, 12, 1},
                                           ThreadSetup{AeadEngine::Choice::kOpenSsl, 12, 1 << 20},
                                           ThreadSetup{AeadEngine::Choice::kFastest, 16, 1 << 20}));

TEST_P(EncryptedFileThreads, NoCommitPutsBackTimesThatWereSetMeanwhile) {
  std::atomic<bool> stop{false};
  std::thread committing([&] {
    for (std::uint8_t i = 0; !stop; ++i) {
      Hash hash{};
      hash[0] = i;
      EXPECT_TRUE(file_->set_xattrs(hash).ok());
    }
  });
  for (time_t second = 1000; second < 3000; ++second) {
    const struct timespec times[2] = {{.tv_sec = second, .tv_nsec = 0},
                                      {.tv_sec = second, .tv_nsec = 0}};
    ASSERT_TRUE(file_->set_times(times).ok());
    const auto status = file_->status();
    ASSERT_TRUE(status.ok());
    if (status->st_mtim.tv_sec != second) {
      ADD_FAILURE() << "set to " << second << ", and is " << status->st_mtim.tv_sec;
      break;
    }
  }
  stop = true;
  committing.join();
}

TEST_P(EncryptedFileThreads, EachReadSeesOneStateOfAWrite) {
  // Groups of chunks around the end of a leaf; each write gives a whole group one letter. A read of
  // a group, or of a part of it, must not see two.
  constexpr std::uint64_t kSeed = 201;
  SCOPED_TRACE(seed_trace(kSeed));
  constexpr std::uint64_t kGroups = 6;
  const std::uint64_t group = 3 * chunk();
  const std::uint64_t start = 120 * chunk();
  for (std::uint64_t i = 0; i < kGroups; ++i) {
    ASSERT_TRUE(file_->write(start + i * group, ByteVector(group, 'a')).ok());
  }
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::vector<std::thread> readers;
  for (std::uint64_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      Chooser choose(kSeed + t);
      ByteVector out(group);
      while (!stop.load()) {
        const std::uint64_t from = choose.one_in(2) ? 0 : choose.below(group);
        const std::size_t length = choose.between(1, group - from);
        const MutableBytes part = MutableBytes(out).first(length);
        const auto done = file_->read(start + choose.below(kGroups) * group + from, part);
        ASSERT_TRUE(done.ok()) << done.error().message();
        ASSERT_EQ(*done, length);
        ASSERT_TRUE(uniform(part)) << "half of a write";
        reads.fetch_add(1);
      }
    });
  }
  std::thread bystander([&] {
    for (unsigned i = 0; !stop.load(); ++i) {
      ASSERT_GE(file_->size(), start + kGroups * group);
      ASSERT_TRUE(file_->has_binding(test_binding()));
      ASSERT_GE(file_->committed().generation, 1U);
      ASSERT_TRUE(file_->backing().status().ok());
      if (i % 8 == 0) {
        ASSERT_TRUE(file_->sync(true).ok());
      }
    }
  });
  Chooser choose(kSeed + 100);
  for (int i = 0; i < 400 || reads.load() < 100; ++i) {
    const auto letter = static_cast<std::uint8_t>('a' + choose.below(26));
    ASSERT_TRUE(
        file_->write(start + choose.below(kGroups) * group, ByteVector(group, letter)).ok());
    if (choose.one_in(10)) {
      ASSERT_TRUE(file_->commit().ok());
    }
    // The end of the file comes and goes behind the groups.
    if (choose.one_in(10)) {
      const std::uint64_t end = start + kGroups * group;
      ASSERT_TRUE(file_->truncate(end + choose.below(300 * chunk())).ok());
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  bystander.join();
}

TEST_P(EncryptedFileThreads, AppendsOfManyDoNotOverlap) {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kRecords = 150;
  std::vector<std::thread> writers;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    writers.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kRecords; ++i) {
        ByteVector record(100);
        for (std::size_t at = 0; at < 96; at += 8) store_le(record, at, t * kRecords + i);
        ASSERT_EQ(*file_->append(record), record.size());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  ASSERT_EQ(file_->size(), kThreads * kRecords * 100);
  std::vector<int> seen(kThreads * kRecords);
  for (std::uint64_t i = 0; i < kThreads * kRecords; ++i) {
    ByteVector record(100);
    ASSERT_TRUE(file_->read(i * 100, record).ok());
    const auto number = load_le<std::uint64_t>(record, 0);
    ASSERT_LT(number, seen.size());
    ASSERT_EQ(load_le<std::uint64_t>(record, 88), number);
    ++seen[number];
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
}

TEST_P(EncryptedFileThreads, FilesThatShareTheCacheDoNotMix) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const MemoryFile backing;
      const auto keys = world_.keys(Suite::kAes256Gcm, 10 + t);
      const auto file = world_.create(backing, 12, keys);
      Chooser choose(t);
      std::vector<std::uint8_t> letters(40);
      for (int i = 0; i < 300; ++i) {
        const std::uint64_t place = choose.below(letters.size());
        if (choose.one_in(2)) {
          letters[place] = static_cast<std::uint8_t>('a' + t);
          ASSERT_TRUE(file->write(place * 100 * 4096, ByteVector(500, letters[place])).ok());
          if (choose.one_in(5)) {
            ASSERT_TRUE(file->commit().ok());
          }
          continue;
        }
        ByteVector out(10);
        ASSERT_TRUE(file->read(place * 100 * 4096, out).ok());
        ASSERT_EQ(out[0], letters[place]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace coffer
