// fallocate(2) one promise at a time. Random operations are in encrypted_file_model_test.cc,
// crashes in crash_test.cc and tests/power.

#include <gtest/gtest.h>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentModel;
using testing::ContentWorld;
using testing::HookedSyscalls;
using testing::kChunk;
using testing::kLeafBytes;
using testing::MemoryFile;
using testing::SystemCall;

class Allocate : public ::testing::Test {
 protected:
  using Room = EncryptedFile::Room;
  using Sizing = EncryptedFile::Sizing;

  void SetUp() override { file_ = world_.create(backing_, 12, keys_, calls_); }
  void write(std::uint64_t offset, std::size_t length) {
    const ByteVector data = choose_.bytes(length);
    ASSERT_EQ(*file_->write(offset, data), length);
    model_.write(offset, data);
  }
  void clear(std::uint64_t offset, std::uint64_t length, Room room) {
    const auto done = file_->clear(offset, length, room);
    ASSERT_TRUE(done.ok()) << done.error().message();
    model_.clear(offset, length);
  }
  void expect_content() {
    ASSERT_EQ(file_->size(), model_.size());
    ByteVector out(model_.size());
    const auto done = file_->read(0, out);
    ASSERT_TRUE(done.ok()) << done.error().message();
    EXPECT_TRUE(equal(out, model_.read(0, model_.size())));
  }
  void expect_content_now_and_later() {
    expect_content();
    ASSERT_TRUE(file_->settle().ok());
    file_.reset();
    file_ = *world_.open(backing_, keys_, calls_);
    expect_content();
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
  std::unique_ptr<EncryptedFile> file_;
  Chooser choose_{1};
  ContentModel model_;
};

TEST_F(Allocate, WhatIsPunchedIsAHoleAndGivesItsRoomBack) {
  write(0, 3 * kLeafBytes + 1000);
  ASSERT_TRUE(file_->sync(true).ok());
  const std::uint64_t room = backing_.room();
  const std::uint64_t size = backing_.size();
  clear(10, 2 * kLeafBytes, Room::kGivenBack);
  EXPECT_LE(backing_.room() + 2 * kLeafBytes - 2 * kChunk, room);
  EXPECT_EQ(backing_.size(), size);
  EXPECT_EQ(*file_->seek_hole(0), kChunk) << "the part of the first chunk is there";
  EXPECT_EQ(*file_->seek_data(kChunk), 2 * kLeafBytes);
  expect_content_now_and_later();
  // And what lies there again is data like any other.
  write(kLeafBytes - 5000, 10'000);
  expect_content_now_and_later();
}

TEST_F(Allocate, ClearingIsAModificationBehindTheEndAsWell) {
  write(0, 5000);
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{5000}, kLeafBytes}) {
    constexpr struct timespec kLongAgo[2] = {{.tv_sec = 1000, .tv_nsec = 0},
                                             {.tv_sec = 1000, .tv_nsec = 0}};
    ASSERT_TRUE(file_->set_times(kLongAgo).ok());
    ASSERT_TRUE(file_->clear(offset, 100, Room::kGivenBack).ok());
    EXPECT_GT(file_->status()->st_mtim.tv_sec, 1000) << offset;
  }
  EXPECT_EQ(file_->size(), 5000U);
}

TEST_F(Allocate, AllOfAFileCanBePunched) {
  write(0, kLeafBytes + 77);
  ASSERT_TRUE(file_->sync(true).ok());
  clear(0, ~std::uint64_t{0} >> 1U, Room::kGivenBack);
  EXPECT_EQ(file_->seek_data(0).error().errno_value, ENXIO);
  EXPECT_LE(backing_.room(), 5 * kChunk) << "headers, and nodes that nothing needs";
  expect_content_now_and_later();
  EXPECT_TRUE(all_zero(file_->committed().root));
}

TEST_F(Allocate, AHoleStaysAHoleWhateverIsMadeZero) {
  ASSERT_TRUE(file_->truncate(std::uint64_t{1} << 44U).ok());
  ASSERT_TRUE(file_->commit().ok());
  const CommittedState before = file_->committed();
  ASSERT_TRUE(file_->clear(100, std::uint64_t{1} << 44U, Room::kGivenBack).ok());
  ASSERT_TRUE(file_->commit().ok());
  EXPECT_EQ(file_->committed().generation, before.generation) << "nothing was to be done";
  ASSERT_TRUE(file_->clear(std::uint64_t{1} << 45U, 5, Room::kGivenBack).ok()) << "past its end";
  EXPECT_EQ(file_->size(), std::uint64_t{1} << 44U);
}

TEST_F(Allocate, RoomThatIsKeptStays) {
  write(0, kLeafBytes);
  ASSERT_TRUE(file_->sync(true).ok());
  const std::uint64_t room = backing_.room();
  clear(0, kLeafBytes, Room::kKept);
  EXPECT_EQ(backing_.room(), room);
  expect_content_now_and_later();
}

TEST_F(Allocate, WhatCanNotBeGivenBackIsZerosAllTheSame) {
  write(0, kLeafBytes);
  ASSERT_TRUE(file_->sync(true).ok());
  calls_.before = [](const SystemCall& call) { return call.what == "fallocate" ? EOPNOTSUPP : 0; };
  clear(kChunk, 7 * kChunk, Room::kGivenBack);
  expect_content_now_and_later();
}

TEST_F(Allocate, RoomIsMadeAndTheSizeStaysOrGrows) {
  write(0, 100);
  ASSERT_TRUE(file_->allocate(0, kLeafBytes, Sizing::kStays).ok());
  EXPECT_GE(backing_.room(), kLeafBytes);
  expect_content_now_and_later();
  ASSERT_TRUE(file_->allocate(2 * kLeafBytes, kLeafBytes, Sizing::kGrows).ok());
  model_.truncate(3 * kLeafBytes);
  EXPECT_GE(backing_.room(), 2 * kLeafBytes);
  EXPECT_EQ(file_->seek_data(kChunk).error().errno_value, ENXIO) << "room is no data";
  ASSERT_TRUE(file_->allocate(0, 5, Sizing::kGrows).ok()) << "it is longer already";
  expect_content_now_and_later();
}

TEST_F(Allocate, RoomThatIsNotThereChangesNothing) {
  write(0, 100);
  for (const int reason : {ENOSPC, EDQUOT, EOPNOTSUPP}) {
    calls_.before = [&](const SystemCall& call) { return call.what == "fallocate" ? reason : 0; };
    EXPECT_EQ(file_->allocate(0, kLeafBytes, Sizing::kGrows).error().errno_value, reason);
    expect_content();
  }
}

TEST_F(Allocate, WhatIsTooFarIsRefused) {
  EXPECT_EQ(file_->allocate(kMaxPlainSize, 1, Sizing::kStays).error().errno_value, EFBIG);
  EXPECT_EQ(file_->allocate(1, ~std::uint64_t{0}, Sizing::kStays).error().errno_value, EFBIG);
  EXPECT_EQ(file_->size(), 0U);
}

TEST_F(Allocate, ADamagedNodeStopsItBeforeAnythingIsLost) {
  write(0, 3 * kLeafBytes);
  ASSERT_TRUE(file_->sync(true).ok());
  ASSERT_TRUE(file_->settle().ok());
  file_.reset();
  file_ = *world_.open(backing_, keys_, calls_);
  backing_.flip(Geometry(12).node_offset({0, 1}) + 40, 3);
  EXPECT_EQ(file_->clear(0, 3 * kLeafBytes, Room::kGivenBack).error().code, Code::kCorrupt);
  // The leaf before it may be zeros, the one behind it is as it was.
  ByteVector out(kLeafBytes);
  ASSERT_TRUE(file_->read(2 * kLeafBytes, out).ok());
  EXPECT_TRUE(equal(out, model_.read(2 * kLeafBytes, kLeafBytes)));
  ASSERT_TRUE(file_->read(0, out).ok());
  EXPECT_TRUE(all_zero(out) || equal(out, model_.read(0, kLeafBytes)));
}

}  // namespace
}  // namespace coffer
