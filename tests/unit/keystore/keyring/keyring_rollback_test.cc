// A keystore that was put back to an earlier state, as a whole: nothing in it is false, and a node
// that has seen a newer one refuses it.

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::everyone_grant;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

class KeyringRollback : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Keyring>> open(const std::string& node,
                                        Keyring::IfOlder if_older = Keyring::IfOlder::kRefuse,
                                        Keyring::Access access = Keyring::Access::kReadWrite) {
    return Keyring::open(store_.path, access, store_.id, store_.kms, store_.clock, KeyLifetime{},
                         {.path = store_.dir.file(node), .report = {}}, if_older);
  }
  std::unique_ptr<Keyring> node(const std::string& name) { return must_be(open(name)); }
  std::uint64_t generation(const std::string& name) {
    return must_be(node(name)->policy()).generation;
  }

  /// A batch of records, as a mount writes it.
  static void record(Keyring& keyring) {
    const std::vector<Dek> deks = must_be(keyring.make_deks(kRootScope, 1));
    const FileRecord entry{
        .file = deks[0].file, .version = deks[0].version, .generation = 1, .root = {}};
    must_be(keyring.record({&entry, 1}));
  }
  /// Nobody has the keystore open: all of it is in the one file.
  void keep(const std::string& name) {
    std::filesystem::copy_file(store_.path, store_.dir.file(name),
                               std::filesystem::copy_options::overwrite_existing);
  }
  void put_back(const std::string& name) {
    for (const char* tail : {"", "-wal", "-shm"}) std::filesystem::remove(store_.path + tail);
    std::filesystem::copy_file(store_.dir.file(name), store_.path);
  }

  TestStore store_;
};

TEST_F(KeyringRollback, ItIsRefusedByWhoHasSeenTheNewer) {
  keep("first");
  record(*node("a"));
  keep("second");
  must_be(node("a")->add_grant(everyone_grant(kRootScope)));
  keep("third");
  for (const char* const older : {"first", "second"}) {
    put_back(older);
    EXPECT_EQ(outcome(open("a")), "rolled-back") << older;
    EXPECT_EQ(outcome(open("a", Keyring::IfOlder::kRefuse, Keyring::Access::kReadOnly)),
              "rolled-back");
    EXPECT_EQ(outcome(open("a node that has seen nothing")), "ok") << older;
    std::filesystem::remove(store_.dir.file("a node that has seen nothing"));
  }
  put_back("third");
  EXPECT_EQ(generation("a"), 3U);
}

TEST_F(KeyringRollback, ReadingIsEnoughToRemember) {
  keep("older");
  record(*must_be(store_.try_open()));
  must_be(open("b", Keyring::IfOlder::kRefuse, Keyring::Access::kReadOnly));
  put_back("older");
  EXPECT_EQ(outcome(open("b")), "rolled-back");
}

TEST_F(KeyringRollback, ACopyThatWentItsOwnWayIsAnother) {
  keep("common");
  record(*node("a"));
  put_back("common");
  record(*must_be(store_.try_open()));
  EXPECT_EQ(outcome(open("a")), "rolled-back") << "of the same generation";
}

TEST_F(KeyringRollback, WhatOthersWriteIsNewer) {
  const auto a = node("a");
  const auto b = node("b");
  for (int i = 0; i < 20; ++i) {
    record(i % 2 == 0 ? *a : *b);
    must_be((i % 3 == 0 ? *a : *b).add_grant(everyone_grant(kRootScope)));
    EXPECT_EQ(outcome(a->policy()), "ok");
    EXPECT_EQ(outcome(b->policy()), "ok");
  }
  EXPECT_EQ(generation("a"), 41U);
}

TEST_F(KeyringRollback, ALowerNumberIsNotWrittenUpAgain) {
  // Put back within the file, under a process that has it open.
  const auto a = node("a");
  const auto deks = must_be(a->make_deks(kRootScope, 1));
  const FileRecord entry{.file = deks[0].file, .version = deks[0].version, .generation = 1};
  RawDatabase raw(store_.path);
  const ByteVector number = raw.value("SELECT value FROM meta WHERE name = 'generation'");
  raw.run("CREATE TEMP TABLE kept AS SELECT * FROM meta");
  record(*a);
  raw.run("DELETE FROM meta; INSERT INTO meta SELECT * FROM kept");
  EXPECT_EQ(outcome(a->record({&entry, 1})), "rolled-back");
  EXPECT_EQ(outcome(a->readmit(entry)), "rolled-back");
  EXPECT_EQ(outcome(a->make_deks(kRootScope, 1)), "rolled-back");
  EXPECT_EQ(outcome(a->add_grant(everyone_grant(kRootScope))), "rolled-back");
  EXPECT_EQ(outcome(a->policy()), "rolled-back");
  EXPECT_EQ(outcome(a->scope_secret(kRootScope)), "rolled-back");
  EXPECT_EQ(raw.value("SELECT value FROM meta WHERE name = 'generation'"), number);
}

TEST_F(KeyringRollback, GenerationAndMomentAreUnderTheMac) {
  record(*node("a"));
  for (const char* const name : {"generation", "moment"}) {
    keep("whole");
    RawDatabase(store_.path)
        .run("UPDATE meta SET value = X'0900000000000000' WHERE name = '" + std::string(name) +
             "'");
    EXPECT_EQ(outcome(open("a")), "corrupt") << name;
    put_back("whole");
  }
  EXPECT_EQ(outcome(open("a")), "ok");
}

TEST_F(KeyringRollback, OfAProgramThatKnowsNoMoment) {
  // As it was made before: without the row, and by changes of policy that leave the row alone.
  testing::change_policy_by_hand(store_, "DELETE FROM meta WHERE name = 'moment'");
  EXPECT_EQ(generation("a"), 2U);
  record(*node("a"));
  EXPECT_EQ(generation("a"), 3U);
  testing::change_policy_by_hand(store_, "UPDATE grants SET purpose = 'another'");
  EXPECT_EQ(generation("a"), 4U);
}

TEST_F(KeyringRollback, AFileExchangedInUseIsRefused) {
  keep("older");
  const auto a = node("a");
  record(*a);
  const auto deks = must_be(a->make_deks(kRootScope, 1));
  std::filesystem::rename(store_.path, store_.dir.file("aside"));
  EXPECT_EQ(outcome(a->policy()), "ok") << "one that is gone says nothing";
  std::filesystem::copy_file(store_.dir.file("older"), store_.path);
  EXPECT_EQ(outcome(a->policy()), "rolled-back");
  EXPECT_EQ(outcome(a->make_deks(kRootScope, 1)), "rolled-back");
  const FileRecord entry{.file = deks[0].file, .version = deks[0].version, .generation = 1};
  EXPECT_EQ(outcome(a->record({&entry, 1})), "rolled-back");
  std::filesystem::rename(store_.dir.file("aside"), store_.path);
  EXPECT_EQ(outcome(a->policy()), "ok");
  EXPECT_EQ(outcome(a->record({&entry, 1})), "ok");
}

TEST_F(KeyringRollback, AnAcceptedOneIsTheNewest) {
  keep("first");
  record(*node("a"));
  record(*node("b"));
  EXPECT_EQ(generation("a"), 3U);
  keep("given up");
  record(*node("c"));
  put_back("first");
  EXPECT_FALSE(must_be(must_be(open("nobody", Keyring::IfOlder::kTake))->older()).has_value());
  {
    const auto keyring = must_be(open("a", Keyring::IfOlder::kTake));
    const auto older = must_be(keyring->older());
    ASSERT_TRUE(older.has_value());
    EXPECT_EQ(older->found.generation, 1U);
    EXPECT_EQ(older->seen.generation, 3U);
    EXPECT_EQ(outcome(open("a")), "rolled-back") << "nothing is accepted yet";
    EXPECT_EQ(must_be(keyring->supersede_seen()), 4U);
    EXPECT_FALSE(must_be(keyring->older()).has_value());
  }
  EXPECT_EQ(generation("a"), 4U);
  EXPECT_EQ(generation("b"), 4U) << "b saw no more than a";
  EXPECT_EQ(outcome(open("c")), "rolled-back") << "c saw the generation of this number before";
  keep("accepted");
  put_back("given up");
  for (const char* const name : {"a", "b", "c"}) EXPECT_EQ(outcome(open(name)), "rolled-back");
  put_back("accepted");
  must_be(must_be(open("c", Keyring::IfOlder::kTake))->supersede_seen());
  for (const char* const name : {"a", "b", "c"}) EXPECT_EQ(generation(name), 5U);
}

}  // namespace
}  // namespace coffer
