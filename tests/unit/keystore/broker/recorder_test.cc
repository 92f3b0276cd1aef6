#include "keystore/broker/recorder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/keystore_process.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::eventually;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

Digest root_of(std::uint64_t generation) {
  Digest root;
  root.fill(static_cast<std::uint8_t>(generation));
  return root;
}

FileRecord closed(const Dek& dek, std::uint64_t generation) {
  return {.file = dek.file,
          .version = dek.version,
          .state = KeyState::kActive,
          .generation = generation,
          .root = root_of(generation)};
}

FileRecord deleted(const Dek& dek, std::uint64_t generation) {
  FileRecord record = closed(dek, generation);
  record.state = KeyState::kDeactivated;
  return record;
}

/// A keyring with files; a disk that can be made to fail and counts its syncs; reports.
class RecorderTest : public ::testing::Test {
 protected:
  RecorderTest() : keyring_(store_.open()), deks_(must_be(keyring_->make_deks(kRootScope, 8))) {}

  std::unique_ptr<Recorder> start() {
    return std::make_unique<Recorder>(
        *keyring_,
        [this]() -> Result<void> {
          ++syncs_;
          if (at_sync_) at_sync_();
          if (disk_fails_) return Error{Code::kIo, EIO, "the disk"};
          return {};
        },
        [this](const Error& error) {
          EXPECT_EQ(error.context, "the disk");
          ++reports_;
        });
  }

  std::uint64_t generation(const Dek& dek) {
    std::uint64_t found = 0;
    must_be(keyring_->visit_keys([&](const KeyRow& row) {
      if (row.file == dek.file) found = row.generation;
      return true;
    }));
    return found;
  }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  std::vector<Dek> deks_;
  std::atomic<int> syncs_{0};
  std::atomic<int> reports_{0};
  std::atomic<bool> disk_fails_{false};
  std::function<void()> at_sync_;
};

TEST_F(RecorderTest, SaysWhatIsNotOnRecordYet) {
  const Dek& dek = deks_[0];
  std::vector<Recorder::Noted> seen;
  std::unique_ptr<Recorder> recorder;
  const auto noted = [&] { return recorder->noted(dek.file, dek.version); };
  at_sync_ = [&] {
    if (recorder == nullptr || !seen.empty()) return;
    seen.push_back(noted());
    recorder->add(closed(dek, 8));
    seen.push_back(noted());
    recorder->note_on_disk(dek.file, dek.version, 8);
    seen.push_back(noted());
  };
  recorder = start();
  EXPECT_EQ(noted().generation, 0U);
  recorder->note_on_disk(dek.file, dek.version, 7);
  EXPECT_EQ(noted().generation, 0U) << "of no use";
  recorder->add(closed(dek, 7));
  recorder->note_on_disk(dek.file, dek.version, 6);
  must_be(recorder->flush());
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].generation, 7U);
  EXPECT_FALSE(seen[0].on_disk);
  EXPECT_TRUE(seen[0].being_recorded);
  EXPECT_EQ(seen[1].generation, 8U);
  EXPECT_FALSE(seen[1].on_disk);
  EXPECT_TRUE(seen[1].being_recorded) << "the one before it is";
  EXPECT_TRUE(seen[2].on_disk);
  must_be(recorder->flush());
  EXPECT_EQ(noted().generation, 0U);
  EXPECT_EQ(generation(dek), 8U);
}

TEST_F(RecorderTest, WhatWasSyncedIsKnownAfterAFailureAsWell) {
  const auto recorder = start();
  disk_fails_ = true;
  recorder->add(closed(deks_[0], 3));
  recorder->note_on_disk(deks_[0].file, deks_[0].version, 3);
  EXPECT_FALSE(recorder->flush().ok());
  const auto noted = recorder->noted(deks_[0].file, deks_[0].version);
  EXPECT_EQ(noted.generation, 3U);
  EXPECT_TRUE(noted.on_disk);
  disk_fails_ = false;
  must_be(recorder->flush());
}

TEST_F(RecorderTest, FlushRecordsWhatWasNoted) {
  const auto recorder = start();
  for (std::size_t i = 0; i < deks_.size(); ++i) recorder->add(closed(deks_[i], i + 1));
  must_be(recorder->flush());
  for (std::size_t i = 0; i < deks_.size(); ++i) {
    const Dek dek = must_be(keyring_->dek(deks_[i].file, deks_[i].version));
    EXPECT_EQ(dek.state, KeyState::kActive);
    EXPECT_EQ(dek.generation, i + 1);
    EXPECT_EQ(dek.root, root_of(i + 1));
  }
}

TEST_F(RecorderTest, WithNothingNotedTheDiskIsLeftAlone) {
  const auto recorder = start();
  must_be(recorder->flush());
  must_be(recorder->flush());
  EXPECT_EQ(syncs_, 0);
}

TEST_F(RecorderTest, TheFilesAreDurableBeforeTheyAreOnRecord) {
  std::vector<std::uint64_t> on_record_at_sync;
  at_sync_ = [&] { on_record_at_sync.push_back(generation(deks_[0])); };
  const auto recorder = start();
  recorder->add(closed(deks_[0], 1));
  must_be(recorder->flush());
  recorder->add(closed(deks_[0], 2));
  must_be(recorder->flush());
  // The background may have been quicker, but never wrote before it had synced.
  ASSERT_EQ(on_record_at_sync.size(), 2U);
  EXPECT_EQ(on_record_at_sync[0], 0U);
  EXPECT_EQ(on_record_at_sync[1], 1U);
  EXPECT_EQ(generation(deks_[0]), 2U);
}

TEST_F(RecorderTest, ADiskThatFailsKeepsTheRecordForLater) {
  const auto recorder = start();
  disk_fails_ = true;
  recorder->add(closed(deks_[0], 1));
  recorder->add(closed(deks_[1], 1));
  EXPECT_EQ(outcome(recorder->flush()), "io");
  recorder->add(closed(deks_[0], 2));
  EXPECT_EQ(outcome(recorder->flush()), "io");
  EXPECT_EQ(generation(deks_[0]), 0U);
  disk_fails_ = false;
  must_be(recorder->flush());
  EXPECT_EQ(generation(deks_[0]), 2U);
  EXPECT_EQ(generation(deks_[1]), 1U);
}

TEST_F(RecorderTest, AKeystoreThatFailsKeepsTheRecordForLater) {
  const auto recorder = start();
  // The KMS's word on the policy key has run out, and it gives no other. (The background may try
  // too, and report it.)
  keyring_->forget_keys();
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "the disk"});
  recorder->add(closed(deks_[0], 1));
  EXPECT_EQ(outcome(recorder->flush()), "key-unavailable");
  store_.kms.fail_with(std::nullopt);
  must_be(recorder->flush());
  EXPECT_EQ(generation(deks_[0]), 1U);
}

TEST_F(RecorderTest, WhatWasNotedDuringAFailureIsNotOverwritten) {
  std::unique_ptr<Recorder> recorder;
  at_sync_ = [&] {
    if (syncs_ == 1) {
      // While the first batch is under way: a newer close, a deletion.
      recorder->add(closed(deks_[0], 5));
      recorder->add(deleted(deks_[1], 5));
      disk_fails_ = true;
    } else {
      disk_fails_ = false;
    }
  };
  recorder = start();
  recorder->add(closed(deks_[0], 1));
  recorder->add(closed(deks_[1], 1));
  (void)recorder->flush();
  must_be(recorder->flush());
  EXPECT_EQ(generation(deks_[0]), 5U);
  EXPECT_EQ(outcome(keyring_->dek(deks_[1].file, deks_[1].version)), "revoked");
}

TEST_F(RecorderTest, OfSeveralRecordsTheNewestGenerationIsKept) {
  const auto recorder = start();
  recorder->add(closed(deks_[0], 3));
  recorder->add(closed(deks_[0], 7));
  recorder->add(closed(deks_[0], 5));
  must_be(recorder->flush());
  const Dek dek = must_be(keyring_->dek(deks_[0].file, deks_[0].version));
  EXPECT_EQ(dek.generation, 7U);
  EXPECT_EQ(dek.root, root_of(7));
}

TEST_F(RecorderTest, ADeletionIsKeptWhateverFollows) {
  const auto recorder = start();
  // Unlinked while open: the last close comes after.
  recorder->add(deleted(deks_[0], 4));
  recorder->add(closed(deks_[0], 5));
  recorder->add(closed(deks_[1], 9));
  recorder->add(deleted(deks_[1], 0));
  must_be(recorder->flush());
  for (const Dek* dek : {&deks_[0], &deks_[1]}) {
    EXPECT_EQ(outcome(keyring_->dek(dek->file, dek->version)), "revoked");
  }
  EXPECT_EQ(generation(deks_[0]), 5U);
  EXPECT_EQ(generation(deks_[1]), 9U);
}

TEST_F(RecorderTest, TwoKeysOfOneFileAreTwoRecords) {
  // After a rotation: the old key is deactivated, the new one active.
  RawDatabase raw(store_.path);
  const std::string where = " WHERE file_id = X'" + deks_[0].file.hex() + "'";
  const auto recorder = start();
  FileRecord old_key = deleted(deks_[0], 1);
  FileRecord new_key = closed(deks_[0], 2);
  new_key.version = KeyVersion{2};
  recorder->add(old_key);
  recorder->add(new_key);
  must_be(recorder->flush());
  EXPECT_EQ(raw.number("SELECT state FROM deks" + where), 4);
}

TEST_F(RecorderTest, TakesAnyNumberOfRecords) {
  std::vector<Dek> many = must_be(keyring_->make_deks(kRootScope, 10'000));
  const auto recorder = start();
  for (const Dek& dek : many) recorder->add(closed(dek, 3));
  must_be(recorder->flush());
  EXPECT_EQ(RawDatabase(store_.path).number("SELECT count(*) FROM deks WHERE generation = 3"),
            10'000);
}

TEST_F(RecorderTest, RecordsWithoutBeingAsked) {
  const auto recorder = start();
  recorder->add(closed(deks_[0], 1));
  EXPECT_TRUE(eventually([&] { return generation(deks_[0]) == 1; }));
  EXPECT_EQ(syncs_, 1);
  recorder->add(closed(deks_[0], 2));
  EXPECT_TRUE(eventually([&] { return generation(deks_[0]) == 2; }));
  EXPECT_EQ(syncs_, 2);
}

TEST_F(RecorderTest, ReportsAndTriesAgainWithoutBeingAsked) {
  const auto recorder = start();
  disk_fails_ = true;
  recorder->add(closed(deks_[0], 1));
  EXPECT_TRUE(eventually([&] { return reports_ >= 1; }));
  EXPECT_EQ(generation(deks_[0]), 0U);
  disk_fails_ = false;
  EXPECT_TRUE(eventually([&] { return generation(deks_[0]) == 1; }));
}

TEST_F(RecorderTest, RecordsWhatIsLeftWhenItEnds) {
  start()->add(closed(deks_[0], 1));
  EXPECT_EQ(generation(deks_[0]), 1U);
  EXPECT_EQ(reports_, 0);
}

TEST_F(RecorderTest, ReportsWhatItCouldNotRecordWhenItEnds) {
  disk_fails_ = true;
  start()->add(closed(deks_[0], 1));
  EXPECT_EQ(generation(deks_[0]), 0U);
  EXPECT_GE(reports_, 1);
}

TEST_F(RecorderTest, FlushMeansAllThatWasNotedBeforeIt) {
  const auto recorder = start();
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 1; i <= 25; ++i) {
        recorder->add(closed(deks_[t], i));
        must_be(recorder->flush());
        EXPECT_GE(must_be(keyring_->dek(deks_[t].file, deks_[t].version)).generation, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace coffer
