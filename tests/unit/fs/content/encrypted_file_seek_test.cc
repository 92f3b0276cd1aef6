// Where data and holes are, against a set of the chunks that were written.

#include <gtest/gtest.h>

#include <set>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentModel;
using testing::ContentWorld;
using testing::HookedSyscalls;
using testing::kChunk;
using testing::MemoryFile;
using testing::SystemCall;

constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

class EncryptedFileSeek : public ::testing::Test {
 protected:
  EncryptedFileSeek() : file_(world_.create(backing_, 12, keys_, calls_)) {}

  void reopen() {
    ASSERT_TRUE(file_->commit().ok());
    auto opened = world_.open(backing_, keys_, calls_);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    file_ = std::move(*opened);
  }
  /// The offset, or the errno as a negative number.
  static std::int64_t value(const Result<std::uint64_t>& found) {
    return found ? static_cast<std::int64_t>(*found) : -found.error().errno_value;
  }
  [[nodiscard]] std::int64_t data(std::uint64_t offset) const {
    return value(file_->seek_data(offset));
  }
  [[nodiscard]] std::int64_t hole(std::uint64_t offset) const {
    return value(file_->seek_hole(offset));
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
  std::unique_ptr<EncryptedFile> file_;
};

TEST_F(EncryptedFileSeek, TheEndIsAHoleAndNothingLiesBehindIt) {
  EXPECT_EQ(data(0), -ENXIO);
  EXPECT_EQ(hole(0), -ENXIO);
  ASSERT_TRUE(file_->write(0, ByteVector(100, 'x')).ok());
  EXPECT_EQ(data(0), 0);
  EXPECT_EQ(data(99), 99);
  EXPECT_EQ(hole(5), 100);
  EXPECT_EQ(data(100), -ENXIO);
  EXPECT_EQ(hole(100), -ENXIO);
  ASSERT_TRUE(file_->truncate(3 * kChunk).ok());
  EXPECT_EQ(hole(5), static_cast<std::int64_t>(kChunk));
  EXPECT_EQ(hole(kChunk + 7), static_cast<std::int64_t>(kChunk + 7));
  EXPECT_EQ(data(kChunk), -ENXIO);
}

TEST_F(EncryptedFileSeek, RandomFilesMatchTheChunksThatWereWritten) {
  Chooser choose(7);
  ContentModel model;
  for (int operation = 0; operation < 400; ++operation) {
    // Near one another and far apart, so that whole leaves and subtrees are holes.
    const std::uint64_t offset = choose.below(std::uint64_t{1} << choose.between(12, 33));
    if (choose.one_in(6)) {
      ASSERT_TRUE(file_->truncate(offset).ok());
      model.truncate(offset);
    } else {
      const ByteVector bytes = choose.bytes(choose.between(1, 3 * kChunk));
      ASSERT_TRUE(file_->write(offset, bytes).ok());
      model.write(offset, bytes);
    }
    if (choose.one_in(20)) reopen();
    std::set<std::uint64_t> chunks;
    for (const std::uint64_t page : model.pages()) chunks.insert(page / kChunk);
    for (int probe = 0; probe < 10 && model.size() > 0; ++probe) {
      const std::uint64_t from = choose.below(model.size());
      const auto next = chunks.lower_bound(from / kChunk);
      EXPECT_EQ(data(from), next == chunks.end()
                                ? -ENXIO
                                : static_cast<std::int64_t>(std::max(from, *next * kChunk)));
      std::uint64_t chunk = from / kChunk;
      while (chunks.count(chunk) != 0) ++chunk;
      EXPECT_EQ(hole(from),
                static_cast<std::int64_t>(std::min(model.size(), std::max(from, chunk * kChunk))));
    }
    ASSERT_FALSE(HasFailure()) << "operation " << operation << " at " << offset;
  }
}

TEST_F(EncryptedFileSeek, AHoleOfTebibytesIsPassedByAFewNodes) {
  ASSERT_TRUE(file_->truncate(16 * kTiB).ok());
  ASSERT_TRUE(file_->write(11 * kTiB + 5, as_bytes("needle")).ok());
  reopen();
  int reads = 0;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "pread") ++reads;
    return 0;
  };
  EXPECT_EQ(data(kChunk * 3), static_cast<std::int64_t>(11 * kTiB));
  EXPECT_EQ(hole(11 * kTiB), static_cast<std::int64_t>(11 * kTiB + kChunk));
  EXPECT_EQ(data(11 * kTiB + kChunk), -ENXIO);
  EXPECT_LT(reads, 20);
}

TEST_F(EncryptedFileSeek, AnAlteredNodeIsNoHole) {
  ASSERT_TRUE(file_->write(300 * kChunk, ByteVector(kChunk, 'x')).ok());
  reopen();
  backing_.flip(Geometry(12).node_offset(Geometry::leaf_of(300)) + 32, 0);
  const auto found = file_->seek_data(0);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace coffer
