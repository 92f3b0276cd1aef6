#include "keystore/keyring/dek_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
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

std::vector<KeyRow> rows_of(Keyring& keyring) {
  std::vector<KeyRow> rows;
  must_be(keyring.visit_keys([&](const KeyRow& row) {
    rows.push_back(row);
    return true;
  }));
  return rows;
}

TEST(DekPool, GivesKeysThatAreInTheKeystoreAlready) {
  TestStore store;
  const auto keyring = store.open();
  const auto other = store.open(Keyring::Access::kReadOnly);
  DekPool pool(*keyring);
  for (int i = 0; i < 40; ++i) {
    const Dek dek = must_be(pool.take(kRootScope));
    EXPECT_EQ(dek.scope, kRootScope);
    const Dek stored = must_be(other->dek(dek.file, dek.version));
    EXPECT_TRUE(constant_time_equal(stored.key.expose(), dek.key.expose()));
  }
}

TEST(DekPool, ServesEachScopeFromItsOwnShelf) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeId other = must_be(keyring->add_scope("/other", DirId{}, ScopeSettings{}));
  DekPool pool(*keyring);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(must_be(pool.take(kRootScope)).scope, kRootScope);
    EXPECT_EQ(must_be(pool.take(other)).scope, other);
  }
  EXPECT_EQ(outcome(pool.take(ScopeId{9})), "key-unavailable");
}

TEST(DekPool, ClosedItHasNoKeys) {
  TestStore store;
  const auto keyring = store.open();
  DekPool pool(*keyring);
  Dek taken = must_be(pool.take(kRootScope));
  const Dek kept = must_be(pool.take(kRootScope));
  pool.close();
  EXPECT_EQ(outcome(pool.take(kRootScope)), "key-unavailable");
  pool.put_back(std::move(taken));
  // All but the one that is in use go back to the keystore.
  EXPECT_TRUE(eventually([&] { return rows_of(*keyring).size() == 1; }));
  EXPECT_EQ(rows_of(*keyring).at(0).file, kept.file);
  pool.open();
  EXPECT_EQ(outcome(pool.take(kRootScope)), "ok");
}

TEST(DekPool, ManyThreadsNeverGetTheSameKey) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeId other = must_be(keyring->add_scope("/other", DirId{}, ScopeSettings{}));
  constexpr std::size_t kThreads = 8;
  constexpr std::size_t kEach = 400;
  std::vector<std::vector<Dek>> taken(kThreads);
  {
    DekPool pool(*keyring);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kEach; ++i) {
          taken[t].push_back(must_be(pool.take(t % 4 == 0 ? other : kRootScope)));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  std::set<FileId> files;
  std::set<ByteVector> keys;
  for (const auto& list : taken) {
    for (const Dek& dek : list) {
      files.insert(dek.file);
      keys.emplace(dek.key.expose().begin(), dek.key.expose().end());
    }
  }
  EXPECT_EQ(files.size(), kThreads * kEach);
  EXPECT_EQ(keys.size(), kThreads * kEach);
  // What was not taken is gone; what was taken stays.
  const std::vector<KeyRow> rows = rows_of(*keyring);
  EXPECT_EQ(rows.size(), kThreads * kEach);
  for (const KeyRow& row : rows) EXPECT_EQ(files.count(row.file), 1U);
}

TEST(DekPool, RefillsBeforeItIsEmpty) {
  TestStore store;
  const auto keyring = store.open();
  const auto watcher = store.open(Keyring::Access::kReadOnly);
  DekPool pool(*keyring);
  must_be(pool.take(kRootScope));
  EXPECT_EQ(rows_of(*watcher).size(), 16U);
  for (int i = 0; i < 15; ++i) must_be(pool.take(kRootScope));
  // The last were taken from a shelf that is being filled, or has been, by the pool's own thread.
  EXPECT_TRUE(eventually([&] { return rows_of(*watcher).size() >= 48; }));
}

TEST(DekPool, BatchesDoubleUpToALimit) {
  TestStore store;
  const auto keyring = store.open();
  RawDatabase raw(store.path);
  std::vector<std::int64_t> batches;
  {
    DekPool pool(*keyring);
    std::int64_t made = 0;
    for (int taken = 0; taken < 4000; ++taken) {
      must_be(pool.take(kRootScope));
      const std::int64_t now = raw.number("SELECT count(*) FROM deks");
      if (now != made) batches.push_back(now - made);
      made = now;
    }
  }
  ASSERT_GE(batches.size(), 8U);
  batches.resize(8);
  EXPECT_EQ(batches, (std::vector<std::int64_t>{16, 32, 64, 128, 256, 512, 1024, 1024}));
  EXPECT_EQ(raw.number("SELECT count(*) FROM deks"), 4000);
}

TEST(DekPool, GivesBackWhatWasNotTaken) {
  TestStore store;
  const auto keyring = store.open();
  Dek kept;
  {
    DekPool pool(*keyring);
    kept = must_be(pool.take(kRootScope));
    EXPECT_EQ(rows_of(*keyring).size(), 16U);
  }
  const std::vector<KeyRow> rows = rows_of(*keyring);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].file, kept.file);
}

TEST(DekPool, AKeyPutBackIsTakenAgain) {
  TestStore store;
  const auto keyring = store.open();
  DekPool pool(*keyring);
  Dek first = must_be(pool.take(kRootScope));
  const FileId file = first.file;
  const ByteVector key(first.key.expose().begin(), first.key.expose().end());
  pool.put_back(std::move(first));
  const Dek again = must_be(pool.take(kRootScope));
  EXPECT_EQ(again.file, file);
  EXPECT_TRUE(equal(again.key.expose(), key));
}

TEST(DekPool, AnErrorIsToldAndTheNextTakeTriesAgain) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  DekPool pool(*keyring);
  for (int i = 0; i < 3; ++i) {
    store.kms.fail_with(Error{Code::kKeyUnavailable, ETIMEDOUT, "KMS timed out"});
    const auto refused = pool.take(kRootScope);
    ASSERT_EQ(outcome(refused), "key-unavailable");
    EXPECT_EQ(refused.error().context, "KMS timed out");
    store.kms.fail_with(std::nullopt);
    EXPECT_EQ(outcome(pool.take(kRootScope)), "ok");
    // Empty the shelf: the batches of the pool's own thread fail too, and are told to nobody.
    store.kms.fail_with(Error{Code::kKeyUnavailable, ETIMEDOUT, "KMS timed out"});
    while (pool.take(kRootScope).ok()) {
    }
  }
}

TEST(DekPool, AllWhoWaitedForABatchHearOfItsFailure) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  DekPool pool(*keyring);
  store.kms.hold();
  std::atomic<int> refused{0};
  std::atomic<int> asking{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      ++asking;
      if (outcome(pool.take(kRootScope)) == "key-unavailable") ++refused;
    });
  }
  ASSERT_TRUE(eventually([&] { return asking == 6 && store.kms.waiting() == 1; }));
  const std::size_t wraps = store.kms.wraps();
  store.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  store.kms.let_go();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 6);
  // Not one attempt after the other, each as slow as the KMS's time limit; a thread that had not
  // begun to wait yet may have made one more.
  EXPECT_LT(store.kms.wraps() - wraps, 5U);
}

TEST(DekPool, WantOfMemoryIsAnErrorLikeAnother) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  DekPool pool(*keyring);
  store.kms.run_out_of_memory(true);
  EXPECT_EQ(outcome(pool.take(kRootScope)), "exhausted");
  EXPECT_EQ(outcome(pool.take(kRootScope)), "exhausted");
  store.kms.run_out_of_memory(false);
  EXPECT_EQ(outcome(pool.take(kRootScope)), "ok");
}

TEST(DekPool, ATakerWaitsForABatchThatIsBeingMade) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  DekPool pool(*keyring);
  store.kms.hold();
  std::atomic<int> served{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 10; ++t) {
    threads.emplace_back([&] {
      if (pool.take(kRootScope).ok()) ++served;
    });
  }
  ASSERT_TRUE(eventually([&] { return store.kms.waiting() == 1; }));
  EXPECT_EQ(served, 0);
  store.kms.let_go();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(served, 10);
}

TEST(DekPool, OnAReadOnlyKeyringTakeFails) {
  TestStore store;
  const auto keyring = store.open(Keyring::Access::kReadOnly);
  DekPool pool(*keyring);
  EXPECT_EQ(outcome(pool.take(kRootScope)), "read-only");
  EXPECT_EQ(outcome(pool.take(kRootScope)), "read-only");
}

TEST(DekPool, EndsWhileABatchIsBeingMade) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  std::thread letting_go;
  {
    DekPool pool(*keyring);
    for (int i = 0; i < 8; ++i) must_be(pool.take(kRootScope));
    store.kms.hold();
    // One more take, and less than a quarter of a batch is left: the pool's thread asks the KMS.
    must_be(pool.take(kRootScope));
    ASSERT_TRUE(eventually([&] { return store.kms.waiting() == 1; }));
    letting_go = std::thread([&] { store.kms.let_go(); });
  }
  letting_go.join();
  EXPECT_EQ(rows_of(*keyring).size(), 9U);
}

}  // namespace
}  // namespace coffer
