// Two programs on one keystore: in two threads, and in two processes.

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/keystore_process.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::eventually;
using testing::expected_policy_mac;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;

constexpr int kRounds = 12;

/// Everything a writer does: grants, revocations, scopes, keys, records. The number marks what is
/// its own.
bool write_a_while(TestStore& store, int writer) {
  const auto keyring = must_be(store.try_open());
  for (int i = 0; i < kRounds; ++i) {
    const std::string uid = "unix:uid:" + std::to_string(writer * 1000 + i);
    const auto grant = keyring->add_grant(selector_grant(kRootScope, {uid}));
    if (!grant) return false;
    if (i % 2 == 0 && !keyring->revoke_grant(*grant)) return false;
    const std::string path = "/" + std::to_string(writer) + "-" + std::to_string(i);
    if (i % 3 == 0) {
      const auto scope = keyring->add_scope(path, DirId{}, ScopeSettings{});
      if (!scope && scope.error().code != Code::kExists) return false;
    }
    const auto deks = keyring->make_deks(kRootScope, 8);
    if (!deks) return false;
    std::vector<FileRecord> records;
    for (const Dek& dek : *deks) {
      records.push_back({.file = dek.file,
                         .version = dek.version,
                         .generation = static_cast<std::uint64_t>(writer)});
    }
    records.pop_back();
    if (!keyring->record(records)) return false;
    const FileId unused = deks->back().file;
    if (!keyring->discard_deks({&unused, 1})) return false;
  }
  return true;
}

/// All that `writers` wrote is there, once, and the MAC stands over it.
void expect_nothing_lost(TestStore& store, const std::vector<int>& writers) {
  const auto keyring = store.open();
  const PolicySnapshot policy = must_be(keyring->policy());
  const std::size_t count = writers.size();
  const std::size_t revoked = kRounds / 2;
  const std::size_t scopes = (kRounds + 2) / 3;
  EXPECT_EQ(policy.grants.size(), 1 + count * kRounds);
  EXPECT_EQ(policy.scopes.size(), 1 + count * scopes);
  EXPECT_EQ(policy.generation, 1 + count * (2 * kRounds + revoked + scopes));
  std::set<std::string> expected;
  for (const int writer : writers) {
    for (int i = 0; i < kRounds; ++i) {
      expected.insert("unix:uid:" + std::to_string(writer * 1000 + i) +
                      (i % 2 == 0 ? " over" : ""));
    }
  }
  std::set<std::string> found;
  for (const GrantRow& grant : policy.grants) {
    if (grant.everyone) continue;
    ASSERT_EQ(grant.selectors.size(), 1U);
    found.insert(grant.selectors[0] + (grant.revoked_at.has_value() ? " over" : ""));
  }
  EXPECT_EQ(found, expected);

  std::vector<KeyRow> rows;
  must_be(keyring->visit_keys([&](const KeyRow& row) {
    rows.push_back(row);
    return true;
  }));
  EXPECT_EQ(rows.size(), count * kRounds * 7);
  for (const KeyRow& row : rows) {
    EXPECT_EQ(row.state, KeyState::kActive);
    EXPECT_EQ(outcome(keyring->dek(row.file, row.version)), "ok");
  }
  EXPECT_EQ(RawDatabase(store.path).value("SELECT value FROM meta WHERE name = 'policy_mac'"),
            expected_policy_mac(store));
}

TEST(KeyringConcurrency, TwoKeyringsInThreadsLoseNoUpdate) {
  TestStore store;
  std::vector<std::thread> threads;
  for (int writer = 1; writer <= 3; ++writer) {
    threads.emplace_back([&store, writer] { EXPECT_TRUE(write_a_while(store, writer)); });
  }
  for (std::thread& thread : threads) thread.join();
  expect_nothing_lost(store, {1, 2, 3});
}

TEST(KeyringConcurrency, TwoProcessesLoseNoUpdate) {
  TestStore store;
  ChildProcess first([&] { return write_a_while(store, 1); });
  ChildProcess second([&] { return write_a_while(store, 2); });
  first.start();
  second.start();
  EXPECT_TRUE(write_a_while(store, 3));
  EXPECT_TRUE(first.succeeded());
  EXPECT_TRUE(second.succeeded());
  expect_nothing_lost(store, {1, 2, 3});
}

TEST(KeyringConcurrency, ManyThreadsShareOneKeyring) {
  TestStore store;
  const auto keyring = store.open();
  const std::vector<Dek> read = must_be(keyring->make_deks(kRootScope, 16));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const std::vector<Dek> made = must_be(keyring->make_deks(kRootScope, 16));
        std::vector<FileRecord> records;
        for (const Dek& dek : made)
          records.push_back({.file = dek.file, .version = dek.version, .generation = 1});
        must_be(keyring->record(records));
        must_be(keyring->add_grant(selector_grant(kRootScope, {"unix:uid:1"})));
      }
    });
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        for (const Dek& dek : read) {
          ASSERT_TRUE(
              equal(must_be(keyring->dek(dek.file, dek.version)).key.expose(), dek.key.expose()));
        }
        must_be(keyring->policy());
        must_be(keyring->data_version());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(must_be(keyring->policy()).generation, 41U);
  EXPECT_EQ(RawDatabase(store.path).number("SELECT count(*) FROM deks WHERE generation = 1"), 320);
}

TEST(KeyringConcurrency, NoReaderWaitsForAnotherProcessToWrite) {
  TestStore store;
  const auto keyring = store.open();
  const Dek dek = std::move(must_be(keyring->make_deks(kRootScope, 1)).front());
  const std::size_t rows = must_be(keyring->policy()).grants.size();
  RawDatabase other(store.path);
  other.run("BEGIN IMMEDIATE");
  std::string said;
  std::atomic<bool> writing{false};
  std::thread writer([&] {
    writing = true;
    said = outcome(keyring->make_deks(kRootScope, 1));
  });
  ASSERT_TRUE(eventually([&] { return writing.load(); }));
  // The writer waits for as long as the other process takes, at most 10 s; were it to wait with a
  // lock that these need, it would be told that the keystore is busy.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < until) {
    EXPECT_EQ(outcome(keyring->dek(dek.file, dek.version)), "ok");
    EXPECT_EQ(outcome(keyring->data_version()), "ok");
    EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "ok");
    EXPECT_EQ(must_be(keyring->policy()).grants.size(), rows);
  }
  other.run("COMMIT");
  writer.join();
  EXPECT_EQ(said, "ok");
}

/// What comes of "/slow" if "/quick" or "/slow" itself is made while its KEK is being wrapped.
std::pair<std::string, ScopeId> slow_scope_overtaken_by(const std::string& path) {
  TestStore store;
  testing::FakeKms quick_way(store.kms.master());
  const auto slow = store.open();
  const auto quick = must_be(
      Keyring::open(store.path, Keyring::Access::kReadWrite, store.id, quick_way, store.clock));
  std::pair<std::string, ScopeId> result;
  store.kms.hold();
  std::thread making([&] {
    const auto made = slow->add_scope("/slow", DirId{}, ScopeSettings{});
    result = {outcome(made), made ? *made : ScopeId{}};
  });
  EXPECT_TRUE(eventually([&] { return store.kms.waiting() == 1; }));
  EXPECT_EQ(must_be(quick->add_scope(path, DirId{}, ScopeSettings{})), ScopeId{2});
  store.kms.let_go();
  making.join();
  EXPECT_EQ(outcome(quick->policy()), "ok");
  EXPECT_EQ(outcome(slow->make_deks(ScopeId{2}, 1)), "ok");
  return result;
}

TEST(KeyringConcurrency, AScopeOvertakenByAnotherTakesTheNextId) {
  EXPECT_EQ(slow_scope_overtaken_by("/quick"), std::pair(std::string("ok"), ScopeId{3}));
}

TEST(KeyringConcurrency, AScopeOvertakenByItselfIsThere) {
  EXPECT_EQ(slow_scope_overtaken_by("/slow").first, "exists");
}

TEST(KeyringConcurrency, AProcessKilledInATransactionLeavesNothing) {
  TestStore store;
  {
    ChildProcess dying([&]() -> bool {
      RawDatabase raw(store.path);
      raw.run("BEGIN IMMEDIATE; DELETE FROM grants; DELETE FROM meta;");
      return ::raise(SIGKILL) == 0;  // with the transaction open
    });
    dying.start();
    EXPECT_FALSE(dying.succeeded());
  }
  const auto keyring = store.open();
  EXPECT_EQ(must_be(keyring->policy()).grants.size(), 1U);
  EXPECT_EQ(outcome(keyring->make_deks(kRootScope, 1)), "ok");
}

TEST(KeyringConcurrency, AProcessKilledAtAnyTimeLeavesAWholeKeystore) {
  TestStore store;
  std::size_t grants = 1;
  for (int round = 0; round < 4; ++round) {
    {
      ChildProcess writer([&]() -> bool {
        for (int i = 1;; ++i) {
          if (!write_a_while(store, i)) return false;
        }
      });
      writer.start();
      const auto watcher = store.open(Keyring::Access::kReadOnly);
      EXPECT_TRUE(
          eventually([&] { return must_be(watcher->policy()).grants.size() > grants + 3; }));
    }  // killed wherever it is
    const auto keyring = store.open();
    grants = must_be(keyring->policy()).grants.size();
    must_be(keyring->add_grant(selector_grant(kRootScope, {"unix:uid:1"})));
    std::vector<KeyRow> rows;
    must_be(keyring->visit_keys([&](const KeyRow& row) {
      rows.push_back(row);
      return true;
    }));
    for (const KeyRow& row : rows) EXPECT_EQ(outcome(keyring->dek(row.file, row.version)), "ok");
    // Batches of eight, of which one is discarded in a transaction of its own.
    EXPECT_GT(rows.size(), 0U);
  }
}

}  // namespace
}  // namespace coffer
