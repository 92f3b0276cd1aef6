// One who writes and others who read the same file, each with an EncryptedFile of its own, as two
// mounts have it. Of most use under the thread sanitizer.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/support/fs_content.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentWorld;
using testing::kBesideWriter;
using testing::kChunk;
using testing::MemoryFile;
using testing::seed_trace;

constexpr std::uint64_t kChunks = 12;
constexpr std::uint64_t kStart = 122 * kChunk;  // across the end of a leaf

/// In which state each chunk was written last; shorter where the file was cut.
using State = std::vector<std::uint32_t>;

class RefreshThreads : public ::testing::Test {
 protected:
  /// From now on readers may see it.
  void begin(const State& state) {
    MutexLock lock(mutex_);
    states_.push_back(state);
  }
  /// From now on they see nothing older.
  void seal() {
    MutexLock lock(mutex_);
    sealed_ = states_.size() - 1;
  }
  std::size_t sealed() {
    MutexLock lock(mutex_);
    return sealed_;
  }

  static ByteVector chunk_of(std::uint32_t number) {
    ByteVector out(kChunk);
    for (std::size_t at = 0; at < kChunk; at += 4) store_le(out, at, number);
    return out;
  }
  /// What one read gave.
  static State state_of(Bytes bytes) {
    State state;
    for (std::size_t at = 0; at < bytes.size(); at += kChunk) {
      const auto number = load_le<std::uint32_t>(bytes, at);
      EXPECT_TRUE(equal(bytes.subspan(at, kChunk), chunk_of(number))) << "a mixture";
      state.push_back(number);
    }
    return state;
  }
  /// The number of the first state from `oldest` on that looks like this.
  std::size_t find(const State& state, std::size_t oldest) {
    MutexLock lock(mutex_);
    const auto first = states_.begin() + static_cast<std::ptrdiff_t>(oldest);
    const auto found = std::find(first, states_.end(), state);
    EXPECT_NE(found, states_.end()) << "no state that was committed";
    return static_cast<std::size_t>(found - states_.begin());
  }

  /// Reads as a read-only mount does.
  static Result<State> read(EncryptedFile& file, bool follow) {
    ByteVector out(kChunks * kChunk);
    for (int attempt = 0;; ++attempt) {
      Result<void> followed;
      if (follow || attempt > 0) {
        const bool overtaken = TRY(file.overtaken());
        if (overtaken) followed = file.refresh(kBesideWriter);
      }
      auto done = followed ? file.read(kStart, out) : Result<std::size_t>(followed.error());
      if (done) return state_of(Bytes(out).first(*done));
      if (attempt == 1000) return std::move(done).error();
      std::this_thread::yield();
    }
  }

  void write_on(EncryptedFile& file, std::uint64_t seed) {
    Chooser choose(seed);
    State state;
    for (std::uint32_t number = 1; number <= kRounds; ++number) {
      if (choose.one_in(8)) {
        state.resize(choose.below(kChunks));
        begin(state);
        ASSERT_TRUE(file.truncate(kStart + state.size() * kChunk).ok());
        ASSERT_TRUE(file.commit().ok());
      } else {
        // What lies between is written, too: no state has holes.
        const std::uint64_t first = choose.below(std::min(state.size() + 1, kChunks));
        const std::uint64_t last = choose.between(first, std::min(first + 3, kChunks - 1));
        state.resize(std::max<std::size_t>(state.size(), last + 1));
        ByteVector data;
        for (std::uint64_t chunk = first; chunk <= last; ++chunk) {
          state[chunk] = number;
          const ByteVector more = chunk_of(number);
          data.insert(data.end(), more.begin(), more.end());
        }
        begin(state);
        ASSERT_EQ(file.write(kStart + first * kChunk, data).value(), data.size());
        ASSERT_TRUE((choose.one_in(2) ? file.commit() : file.sync(true)).ok());
      }
      seal();
      if (choose.one_in(5)) {
        ASSERT_TRUE(file.settle().ok());
      }
    }
  }

  static constexpr std::uint32_t kRounds = 2000;
  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  std::unique_ptr<EncryptedFile> writer_ = world_.create(backing_, 12, keys_);
  Mutex mutex_;
  std::vector<State> states_ GUARDED_BY(mutex_){State()};
  std::size_t sealed_ GUARDED_BY(mutex_) = 0;
};

TEST_F(RefreshThreads, EachReadIsACommitNoOlderThanTheLastBeforeIt) {
  constexpr std::uint64_t kSeed = 303;
  SCOPED_TRACE(seed_trace(kSeed));
  ASSERT_TRUE(writer_->truncate(kStart).ok());
  ASSERT_TRUE(writer_->sync(false).ok());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  const auto held = world_.open_beside(backing_, keys_, kBesideWriter).value();
  std::vector<std::thread> readers;
  for (const bool follow : {true, false, true}) {
    readers.emplace_back([&, follow] {
      std::size_t seen = 0;
      while (!stop.load()) {
        const std::size_t oldest = follow ? sealed() : seen;
        const auto state = read(*held, follow);
        ASSERT_TRUE(state.ok()) << state.error().message();
        seen = find(*state, oldest);
        reads.fetch_add(1);
      }
    });
  }
  readers.emplace_back([&] {
    const ContentContext context = world_.context(real_syscalls(), false);
    while (!stop.load()) {
      const std::size_t oldest = sealed();
      BackingFile backing = backing_.open();
      const auto raw = read_raw_header(backing);
      ASSERT_TRUE(raw.ok());
      auto file = EncryptedFile::open(context, std::move(backing), *raw, keys_, kBesideWriter);
      if (!file) continue;  // in the midst of a header
      const auto state = read(**file, true);
      ASSERT_TRUE(state.ok()) << state.error().message();
      find(*state, oldest);
      reads.fetch_add(1);
    }
  });
  write_on(*writer_, kSeed);
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(reads.load(), 100U);
  // At rest all see the last.
  const State last = read(*held, true).value();
  MutexLock lock(mutex_);
  EXPECT_EQ(last, states_.back());
}

}  // namespace
}  // namespace coffer
