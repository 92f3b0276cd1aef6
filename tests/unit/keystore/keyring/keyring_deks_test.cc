#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

Digest root_of(std::uint8_t byte) {
  Digest root;
  root.fill(byte);
  return root;
}

class KeyringDeks : public ::testing::Test {
 protected:
  KeyringDeks() : keyring_(store_.open()) {}

  Dek one() { return std::move(must_be(keyring_->make_deks(kRootScope, 1)).front()); }
  Dek read(const Dek& dek) { return must_be(keyring_->dek(dek.file, dek.version)); }

  void record(const Dek& dek, std::uint64_t generation, std::uint8_t root,
              KeyState state = KeyState::kActive) {
    const FileRecord entry{.file = dek.file,
                           .version = dek.version,
                           .state = state,
                           .generation = generation,
                           .root = root_of(root)};
    must_be(keyring_->record({&entry, 1}));
  }

  std::vector<KeyRow> rows() {
    std::vector<KeyRow> all;
    must_be(keyring_->visit_keys([&](const KeyRow& row) {
      all.push_back(row);
      return true;
    }));
    return all;
  }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
};

TEST_F(KeyringDeks, AreMadeAheadOfNeed) {
  const std::int64_t before = store_.clock.unix_seconds();
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 100));
  ASSERT_EQ(deks.size(), 100U);
  std::set<FileId> files;
  std::set<ByteVector> keys;
  for (const Dek& dek : deks) {
    files.insert(dek.file);
    keys.emplace(dek.key.expose().begin(), dek.key.expose().end());
    EXPECT_EQ(dek.version, KeyVersion{1});
    EXPECT_EQ(dek.scope, kRootScope);
    EXPECT_EQ(dek.state, KeyState::kPreActivation);
    EXPECT_EQ(dek.generation, 0U);
    EXPECT_TRUE(all_zero(dek.root));
    ASSERT_EQ(dek.key.size(), 32U);
  }
  EXPECT_EQ(files.size(), 100U);
  EXPECT_EQ(keys.size(), 100U);

  const std::vector<KeyRow> listed = rows();
  ASSERT_EQ(listed.size(), 100U);
  for (const KeyRow& row : listed) {
    EXPECT_EQ(files.count(row.file), 1U);
    EXPECT_EQ(row.scope, kRootScope);
    EXPECT_EQ(row.kek_version, KeyVersion{1});
    EXPECT_EQ(row.state, KeyState::kPreActivation);
    EXPECT_GE(row.created_at, before);
    EXPECT_EQ(row.changed_at, row.created_at);
    EXPECT_EQ(row.generation, 0U);
  }
}

TEST_F(KeyringDeks, AreReadAsTheyWereMadeByWhoeverOpensTheKeystore) {
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 3));
  const auto other = store_.open(Keyring::Access::kReadOnly);
  for (const Dek& dek : deks) {
    const Dek found = must_be(other->dek(dek.file, dek.version));
    EXPECT_EQ(found.file, dek.file);
    EXPECT_EQ(found.version, dek.version);
    EXPECT_EQ(found.scope, dek.scope);
    EXPECT_EQ(found.state, KeyState::kPreActivation);
    EXPECT_EQ(found.generation, 0U);
    EXPECT_TRUE(constant_time_equal(found.key.expose(), dek.key.expose()));
  }
}

TEST_F(KeyringDeks, ThereMayBeNone) {
  EXPECT_TRUE(must_be(keyring_->make_deks(kRootScope, 0)).empty());
  EXPECT_EQ(outcome(keyring_->dek(FileId{}, KeyVersion{1})), "key-unavailable");
  const Dek dek = one();
  EXPECT_EQ(outcome(keyring_->dek(dek.file, KeyVersion{2})), "key-unavailable");
  EXPECT_EQ(outcome(keyring_->dek(dek.file, KeyVersion{0})), "key-unavailable");
}

TEST_F(KeyringDeks, FileIdsBeginWithTheirTime) {
  const auto millis = [&] {
    return std::chrono::floor<std::chrono::milliseconds>(store_.clock.now())
        .time_since_epoch()
        .count();
  };
  const auto before = millis();
  const Dek dek = one();
  const auto after = millis();
  std::int64_t time = 0;
  for (int i = 0; i < 6; ++i) time = time * 256 + dek.file.bytes[static_cast<std::size_t>(i)];
  EXPECT_GE(time, before);
  EXPECT_LE(time, after);

  // So that a later batch stands behind an earlier one, and the table is in order of making.
  store_.clock.advance(std::chrono::seconds(1));
  const Dek later = one();
  EXPECT_LT(dek.file, later.file);
  EXPECT_EQ(rows().back().file, later.file);
}

TEST_F(KeyringDeks, VisitStopsWhenToldTo) {
  must_be(keyring_->make_deks(kRootScope, 10));
  std::vector<FileId> seen;
  must_be(keyring_->visit_keys([&](const KeyRow& row) {
    seen.push_back(row.file);
    return seen.size() < 4;
  }));
  EXPECT_EQ(seen.size(), 4U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(KeyringDeks, AVisitorMayAskForKeysAndWrite) {
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 5));
  int seen = 0;
  must_be(keyring_->visit_keys([&](const KeyRow& row) {
    EXPECT_EQ(outcome(keyring_->dek(row.file, row.version)), "ok");
    // What comes meanwhile is not of the moment that is visited.
    EXPECT_EQ(outcome(keyring_->make_deks(kRootScope, 1)), "ok");
    ++seen;
    return true;
  }));
  EXPECT_EQ(seen, 5);
  EXPECT_EQ(rows().size(), 10U);
}

TEST_F(KeyringDeks, DiscardRemovesWhatWasNeverUsed) {
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 4));
  record(deks[1], 1, 1);
  record(deks[2], 1, 1, KeyState::kDeactivated);
  const std::vector<FileId> all = {deks[0].file, deks[1].file, deks[2].file, FileId{}};
  must_be(keyring_->discard_deks(all));
  EXPECT_EQ(outcome(keyring_->dek(deks[0].file, deks[0].version)), "key-unavailable");
  EXPECT_EQ(outcome(keyring_->dek(deks[1].file, deks[1].version)), "ok");
  EXPECT_EQ(outcome(keyring_->dek(deks[2].file, deks[2].version)), "revoked");
  EXPECT_EQ(outcome(keyring_->dek(deks[3].file, deks[3].version)), "ok");
  EXPECT_EQ(rows().size(), 3U);
  must_be(keyring_->discard_deks({}));
}

TEST_F(KeyringDeks, ARecordMakesAKeyActive) {
  const Dek dek = one();
  store_.clock.advance(std::chrono::seconds(100));
  record(dek, 5, 0x11);
  Dek found = read(dek);
  EXPECT_EQ(found.state, KeyState::kActive);
  EXPECT_EQ(found.generation, 5U);
  EXPECT_EQ(found.root, root_of(0x11));
  EXPECT_TRUE(constant_time_equal(found.key.expose(), dek.key.expose()));
  const KeyRow row = rows().front();
  EXPECT_EQ(row.generation, 5U);
  EXPECT_GE(row.changed_at, row.created_at + 100);

  record(dek, 6, 0x22);
  found = read(dek);
  EXPECT_EQ(found.generation, 6U);
  EXPECT_EQ(found.root, root_of(0x22));
}

TEST_F(KeyringDeks, AnOlderGenerationIsLeftOut) {
  const Dek dek = one();
  record(dek, 5, 0x55);
  record(dek, 4, 0x44);
  EXPECT_EQ(read(dek).generation, 5U);
  EXPECT_EQ(read(dek).root, root_of(0x55));
  record(dek, 5, 0x56);
  EXPECT_EQ(read(dek).root, root_of(0x56));
  // Generations are unsigned in the file and signed in SQLite.
  record(dek, UINT64_MAX, 0x77);
  EXPECT_EQ(read(dek).generation, UINT64_MAX);
  record(dek, 6, 0x66);
  EXPECT_EQ(read(dek).generation, UINT64_MAX);
}

TEST_F(KeyringDeks, ADeactivatedKeyIsRefusedForGood) {
  const Dek dek = one();
  record(dek, 3, 1);
  record(dek, 4, 2, KeyState::kDeactivated);
  const auto refused = keyring_->dek(dek.file, dek.version);
  ASSERT_EQ(outcome(refused), "revoked");
  EXPECT_THAT(refused.error().context, ::testing::HasSubstr("deactivated"));
  record(dek, 9, 3);
  EXPECT_EQ(outcome(keyring_->dek(dek.file, dek.version)), "revoked");
  EXPECT_EQ(rows().front().generation, 4U);
}

TEST_F(KeyringDeks, ADeletionIsKeptWhateverItsGeneration) {
  const Dek dek = one();
  record(dek, 7, 0x77);
  record(dek, 0, 0, KeyState::kDeactivated);
  EXPECT_EQ(outcome(keyring_->dek(dek.file, dek.version)), "revoked");
  EXPECT_EQ(rows().front().state, KeyState::kDeactivated);
  EXPECT_EQ(rows().front().generation, 7U);
}

TEST_F(KeyringDeks, ASuspendedKeyStaysSo) {
  for (const KeyState state :
       {KeyState::kSuspended, KeyState::kCompromised, KeyState::kDestroyed}) {
    const Dek dek = one();
    record(dek, 2, 1, state);
    record(dek, 3, 2);
    record(dek, 4, 3, KeyState::kDeactivated);
    const auto refused = keyring_->dek(dek.file, dek.version);
    ASSERT_EQ(outcome(refused), "revoked") << to_string(state);
    EXPECT_THAT(refused.error().context, ::testing::HasSubstr(to_string(state)));
  }
}

TEST_F(KeyringDeks, ARecordOfNoKeyIsPassedOver) {
  const Dek dek = one();
  const std::vector<FileRecord> records = {
      {.file = FileId{}, .version = KeyVersion{1}, .generation = 1},
      {.file = dek.file, .version = KeyVersion{2}, .generation = 1},
      {.file = dek.file, .version = dek.version, .generation = 1},
  };
  must_be(keyring_->record(records));
  EXPECT_EQ(read(dek).generation, 1U);
  EXPECT_EQ(rows().size(), 1U);
  must_be(keyring_->record({}));
}

TEST_F(KeyringDeks, ManyRecordsAreOneTransaction) {
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 50));
  std::vector<FileRecord> records;
  for (const Dek& dek : deks) {
    records.push_back({.file = dek.file, .version = dek.version, .generation = 2});
  }
  const auto watcher = store_.open(Keyring::Access::kReadOnly);
  std::set<std::int64_t> versions = {must_be(watcher->data_version())};
  must_be(keyring_->record(records));
  versions.insert(must_be(watcher->data_version()));
  EXPECT_EQ(versions.size(), 2U);
  for (const KeyRow& row : rows()) EXPECT_EQ(row.generation, 2U);
}

TEST_F(KeyringDeks, TheLaterOfTwoRecordsInABatchStands) {
  const Dek dek = one();
  const std::vector<FileRecord> records = {
      {.file = dek.file, .version = dek.version, .generation = 2, .root = root_of(2)},
      {.file = dek.file, .version = dek.version, .generation = 3, .root = root_of(3)},
      {.file = dek.file, .version = dek.version, .generation = 1, .root = root_of(1)}};
  must_be(keyring_->record(records));
  EXPECT_EQ(read(dek).generation, 3U);
  EXPECT_EQ(read(dek).root, root_of(3));
}

}  // namespace
}  // namespace coffer
