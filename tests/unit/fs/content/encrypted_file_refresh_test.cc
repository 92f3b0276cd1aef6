// A reader beside a writer of the same file: what it takes over, and what it refuses.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentWorld;
using testing::HookedSyscalls;
using testing::kBesideWriter;
using testing::kChunk;
using testing::MemoryFile;
using testing::seed_trace;
using testing::SystemCall;

class Refresh : public ::testing::Test {
 protected:
  std::unique_ptr<EncryptedFile> reader() {
    auto opened = world_.open_beside(backing_, keys_, kBesideWriter);
    if (!opened) throw std::runtime_error(opened.error().message());
    return std::move(*opened);
  }
  static Result<std::string> content(EncryptedFile& file) {
    ByteVector out(file.size() + 1);  // longer, should it have grown by now
    const std::size_t length = TRY(file.read(0, out));
    return std::string(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(length));
  }
  /// `count` chunks of one letter each.
  static std::string letters(const std::string& text) {
    std::string out;
    for (const char letter : text) out.append(kChunk, letter);
    return out;
  }
  void put(std::uint64_t chunk, const std::string& text) {
    ASSERT_TRUE(writer_->write(chunk * kChunk, as_bytes(letters(text))).ok());
  }
  /// The reader takes over what there is, and reads it.
  static std::string refreshed(EncryptedFile& file) {
    const auto done = file.refresh(kBesideWriter);
    EXPECT_TRUE(done.ok()) << done.error().message();
    const auto read = content(file);
    EXPECT_TRUE(read.ok()) << read.error().message();
    return read.ok() ? *read : "";
  }

  HookedSyscalls calls_;
  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  std::unique_ptr<EncryptedFile> writer_ = world_.create(backing_, 12, keys_, calls_);
};

TEST_F(Refresh, WhatWasNotWrittenToIsNotOvertaken) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  const auto file = reader();
  EXPECT_FALSE(file->overtaken().value());
  EXPECT_EQ(file->revision(), 0U);
  EXPECT_EQ(refreshed(*file), letters("abc"));
  EXPECT_FALSE(file->overtaken().value());
  EXPECT_FALSE(file->recovery().has_value());
}

TEST_F(Refresh, SeesWhatIsCommittedAndNoMore) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  const auto file = reader();
  put(1, "X");
  EXPECT_EQ(refreshed(*file), letters("abc")) << "not committed yet";
  ASSERT_TRUE(writer_->commit().ok());
  EXPECT_TRUE(file->overtaken().value());
  EXPECT_EQ(content(*file).value(), letters("abc")) << "a state stays until the next is taken over";
  EXPECT_EQ(refreshed(*file), letters("aXc")) << "from the journal";
  put(0, "Y");
  ASSERT_TRUE(writer_->sync(true).ok());
  EXPECT_EQ(refreshed(*file), letters("YXc"));
  ASSERT_TRUE(writer_->settle().ok());
  EXPECT_TRUE(file->overtaken().value());
  EXPECT_EQ(refreshed(*file), letters("YXc")) << "from its place";
  EXPECT_FALSE(file->recovery().has_value());
}

TEST_F(Refresh, SizesFollow) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  const auto file = reader();
  put(3, "de");
  EXPECT_EQ(refreshed(*file), letters("abc"));
  ASSERT_TRUE(writer_->sync(true).ok());
  EXPECT_EQ(refreshed(*file), letters("abcde"));
  ASSERT_TRUE(writer_->truncate(kChunk).ok());
  EXPECT_EQ(refreshed(*file), letters("a"));
  ASSERT_TRUE(writer_->truncate(0).ok());
  EXPECT_EQ(refreshed(*file), "");
  put(130, "z");
  ASSERT_TRUE(writer_->commit().ok());
  EXPECT_EQ(refreshed(*file), std::string(130 * kChunk, '\0') + letters("z"));
}

TEST_F(Refresh, AStateThatWentAwayIsAnErrorUntilTheNextIsTakenOver) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  const auto file = reader();
  put(1, "X");
  ASSERT_TRUE(writer_->settle().ok());
  const auto stale = content(*file);
  ASSERT_FALSE(stale.ok());
  EXPECT_EQ(stale.error().code, Code::kCorrupt);
  EXPECT_EQ(refreshed(*file), letters("aXc"));
}

TEST_F(Refresh, OlderStatesAreRefused) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  MemoryFile older;
  older.copy_from(backing_);
  put(0, "X");
  ASSERT_TRUE(writer_->settle().ok());
  const auto file = reader();
  const CommittedState seen = file->committed();
  // Than it has seen.
  backing_.copy_from(older);
  EXPECT_TRUE(file->overtaken().value());
  auto refused = file->refresh(kBesideWriter);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kRolledBack);
  EXPECT_EQ(file->committed().generation, seen.generation);
  EXPECT_EQ(file->revision(), 0U);
  // Than is on record.
  const auto elder = reader();
  EXPECT_EQ(
      elder->refresh({.recorded = seen.generation, .noted = 0, .written_now = true}).error().code,
      Code::kRolledBack);
}

TEST_F(Refresh, AnotherStateOfTheSameGenerationIsRefused) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  MemoryFile fork;
  fork.copy_from(backing_);
  put(3, "X");
  ASSERT_TRUE(writer_->settle().ok());
  const auto file = reader();
  ContentWorld elsewhere;  // with journals of its own
  const auto other = elsewhere.open(fork, keys_).value();
  ASSERT_TRUE(other->write(3 * kChunk, as_bytes(letters("Y"))).ok());
  ASSERT_TRUE(other->settle().ok());
  ASSERT_EQ(other->committed().generation, file->committed().generation);
  backing_.copy_from(fork);
  EXPECT_EQ(file->refresh(kBesideWriter).error().code, Code::kRolledBack);
}

TEST_F(Refresh, DamageStaysDamage) {
  put(0, "abc");
  ASSERT_TRUE(writer_->sync(false).ok());
  const auto file = reader();
  backing_.flip(Geometry(12).chunk_offset(1) + 7, 3);
  EXPECT_EQ(content(*file).error().code, Code::kCorrupt);
  EXPECT_FALSE(file->overtaken().value()) << "no state is newer";
  ASSERT_TRUE(file->refresh(kBesideWriter).ok());
  EXPECT_EQ(content(*file).error().code, Code::kCorrupt);
  backing_.flip(Geometry(12).chunk_offset(1) + 7, 3);
  backing_.flip(100, 0);
  backing_.flip(kBlockSize + 100, 0);
  EXPECT_TRUE(file->overtaken().value());
  EXPECT_EQ(file->refresh(kBesideWriter).error().code, Code::kCorrupt);
  EXPECT_EQ(content(*file).value(), letters("abc")) << "the state is as before";
}

/// Between any two calls of the writer, and in the midst of its writes, readers find one of its
/// commits whole.
class EveryCall : public Refresh, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    held_ = reader();
    calls_.before = [this](const SystemCall& call) {
      if (!looking_) look(call.what == "pwrite" && call.offset == torn_at_);
      torn_at_ = ~std::uint64_t{0};
      return 0;
    };
    calls_.limit = [this](const SystemCall& call) {
      if (!GetParam() || call.what != "pwrite" || call.count <= 512) return call.count;
      torn_at_ = call.offset + 512;
      return std::size_t{512};
    };
  }
  void TearDown() override {
    calls_.before = nullptr;
    calls_.limit = nullptr;
  }

  /// A commit is about to be made: readers may see it from now on.
  void commit_next() {
    commits_.push_back(model_);
    ASSERT_TRUE(writer_->commit().ok());
    sealed_ = commits_.size() - 1;
  }
  /// `torn`: within a write. A header that is half there may leave nothing to be found but older
  /// ones.
  void look(bool torn) {
    looking_ = true;
    ++looks_;
    auto seen = content(*held_);
    for (int i = 0; i < 2 && !seen.ok() && seen.error().code == Code::kCorrupt; ++i) {
      if (auto done = held_->refresh(kBesideWriter); !done) seen = std::move(done).error();
      if (seen.ok() || seen.error().code == Code::kCorrupt) seen = content(*held_);
    }
    check(seen, torn, 0);
    if (auto anew = world_.open_beside(backing_, keys_, kBesideWriter)) {
      check(content(**anew), torn, torn ? 0 : sealed_);
    } else {
      check(std::move(anew).error(), torn, 0);
    }
    looking_ = false;
  }
  void check(const Result<std::string>& seen, bool torn, std::size_t oldest) {
    if (!seen.ok()) {
      EXPECT_TRUE(torn) << seen.error().message();
      EXPECT_TRUE(seen.error().code == Code::kCorrupt || seen.error().code == Code::kRolledBack);
      return;
    }
    const auto first = commits_.begin() + static_cast<std::ptrdiff_t>(oldest);
    EXPECT_NE(std::find(first, commits_.end(), *seen), commits_.end())
        << "a state nobody committed";
  }

  std::unique_ptr<EncryptedFile> held_;
  std::string model_;
  std::vector<std::string> commits_{""};
  std::size_t sealed_ = 0;
  std::size_t looks_ = 0;
  bool looking_ = false;
  std::uint64_t torn_at_ = ~std::uint64_t{0};
};

INSTANTIATE_TEST_SUITE_P(Torn, EveryCall, ::testing::Bool());

TEST_P(EveryCall, OfAWriterFindsOneOfItsCommits) {
  constexpr std::uint64_t kSeed = 77;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t at = choose.below(6);
    const std::string text(choose.between(1, 3), static_cast<char>('a' + round % 26));
    switch (choose.below(6)) {
      case 0: {
        const std::uint64_t size = choose.below(6 * kChunk);
        model_.resize(size, '\0');
        commits_.push_back(model_);
        ASSERT_TRUE(writer_->truncate(size).ok());
        commit_next();
        break;
      }
      case 1:
        ASSERT_TRUE(writer_->settle().ok());
        break;
      case 2:
        ASSERT_TRUE(writer_->sync(choose.one_in(2)).ok());
        break;
      default:
        model_.resize(std::max<std::size_t>(model_.size(), (at + text.size()) * kChunk), '\0');
        model_.replace(at * kChunk, text.size() * kChunk, letters(text));
        put(at, text);
        commit_next();
    }
  }
  EXPECT_GT(looks_, 500U);
}

}  // namespace
}  // namespace coffer
