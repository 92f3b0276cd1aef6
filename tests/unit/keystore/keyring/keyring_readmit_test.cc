// Deleted files that are put back: their keys may be used again, those of no others.

#include <gtest/gtest.h>

#include <string>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

class KeyringReadmit : public ::testing::Test {
 protected:
  KeyringReadmit()
      : keyring_(store_.open()),
        dek_(std::move(must_be(keyring_->make_deks(kRootScope, 1)).front())) {}

  FileRecord record(std::uint64_t generation, KeyState state = KeyState::kActive) const {
    FileRecord entry{.file = dek_.file,
                     .version = dek_.version,
                     .state = state,
                     .generation = generation,
                     .root = {}};
    entry.root.fill(static_cast<std::uint8_t>(generation));
    return entry;
  }
  void put(const FileRecord& entry) { must_be(keyring_->record({&entry, 1})); }
  Result<Dek> read(DekUse use = DekUse::kOrdinary) {
    return keyring_->dek(dek_.file, dek_.version, use);
  }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  Dek dek_;
};

TEST_F(KeyringReadmit, ADeletedFilesKeyIsForRecoveryAlone) {
  put(record(5, KeyState::kDeactivated));
  EXPECT_EQ(outcome(read()), "revoked");
  const Dek found = must_be(read(DekUse::kRecovery));
  EXPECT_EQ(found.state, KeyState::kDeactivated);
  EXPECT_EQ(found.generation, 5U);
  EXPECT_TRUE(constant_time_equal(found.key.expose(), dek_.key.expose()));
}

TEST_F(KeyringReadmit, ItCanBeMadeActiveAgain) {
  put(record(5, KeyState::kDeactivated));
  EXPECT_EQ(outcome(keyring_->readmit(record(6))), "ok");
  const Dek found = must_be(read());
  EXPECT_EQ(found.state, KeyState::kActive);
  EXPECT_EQ(found.generation, 6U);
  EXPECT_EQ(found.root, record(6).root);
  // And whoever opens the keystore anew finds the row authentic.
  EXPECT_EQ(outcome(store_.open()->dek(dek_.file, dek_.version)), "ok");
}

TEST_F(KeyringReadmit, ARecordOnlyRises) {
  put(record(5));
  EXPECT_EQ(outcome(keyring_->readmit(record(4))), "rolled-back");
  EXPECT_EQ(must_be(read()).generation, 5U);
  EXPECT_EQ(outcome(keyring_->readmit(record(9))), "ok");
  EXPECT_EQ(must_be(read()).generation, 9U);
  put(record(9, KeyState::kDeactivated));
  EXPECT_EQ(outcome(keyring_->readmit(record(8))), "rolled-back");
  EXPECT_EQ(outcome(read()), "revoked") << "nothing was changed";
}

TEST_F(KeyringReadmit, WhatWasRevokedOtherwiseStaysSo) {
  for (const KeyState state :
       {KeyState::kSuspended, KeyState::kCompromised, KeyState::kDestroyed}) {
    SCOPED_TRACE(std::string(to_string(state)));
    const Dek other = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
    const FileRecord entry{
        .file = other.file, .version = other.version, .state = state, .generation = 1, .root = {}};
    must_be(keyring_->record({&entry, 1}));
    FileRecord again = entry;
    again.state = KeyState::kActive;
    again.generation = 2;
    EXPECT_EQ(outcome(keyring_->readmit(again)), "revoked");
    EXPECT_EQ(outcome(keyring_->dek(other.file, other.version, DekUse::kRecovery)), "revoked");
  }
}

TEST_F(KeyringReadmit, ThereIsNoSuchKey) {
  FileRecord entry = record(1);
  entry.version = KeyVersion{2};
  EXPECT_EQ(outcome(keyring_->readmit(entry)), "not-found");
}

/// Whoever can write the file, and has no master key, gets nothing readmitted.
TEST_F(KeyringReadmit, AnAlteredRowIsRefused) {
  put(record(5, KeyState::kDeactivated));
  RawDatabase(store_.path).run("UPDATE deks SET state = 2");
  EXPECT_EQ(outcome(read(DekUse::kRecovery)), "corrupt");
  EXPECT_EQ(outcome(keyring_->readmit(record(6))), "corrupt");
  RawDatabase(store_.path).run("UPDATE deks SET state = 4, generation = 1");
  EXPECT_EQ(outcome(keyring_->readmit(record(6))), "corrupt");
}

TEST_F(KeyringReadmit, NotInAKeystoreThatIsReadOnly) {
  put(record(5, KeyState::kDeactivated));
  const auto reader = store_.open(Keyring::Access::kReadOnly);
  EXPECT_NE(outcome(reader->readmit(record(6))), "ok");
  EXPECT_EQ(outcome(read()), "revoked");
}

}  // namespace
}  // namespace coffer
