// Several connections to one keystore: what they see of each other, and who waits.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "keystore/db/database.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

using testing::TempDir;

class DatabaseSharing : public ::testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = dir_.file("k.db");
  Database mine_ = make_database(path_);
  Database theirs_ = must_open(path_, Mode::kReadWrite);
};

TEST_F(DatabaseSharing, DataVersionTellsOfOthersCommits) {
  const std::int64_t first = *mine_.data_version();
  EXPECT_EQ(*mine_.data_version(), first);
  must_run(mine_, "INSERT INTO t VALUES (2);");
  EXPECT_EQ(*mine_.data_version(), first) << "changed by a commit of its own";

  must_run(theirs_, "INSERT INTO t VALUES (3);");
  const std::int64_t second = *mine_.data_version();
  EXPECT_NE(second, first);
  EXPECT_EQ(*mine_.data_version(), second);

  {
    Transaction transaction = *Transaction::begin(theirs_);
    must_run(theirs_, "INSERT INTO t VALUES (4);");
    EXPECT_EQ(*mine_.data_version(), second) << "changed before the commit";
  }
  EXPECT_EQ(*mine_.data_version(), second) << "changed by what was rolled back";

  Database reader = must_open(path_, Mode::kReadOnly);
  const std::int64_t read = *reader.data_version();
  must_run(theirs_, "INSERT INTO t VALUES (5);");
  EXPECT_NE(*reader.data_version(), read);
}

TEST_F(DatabaseSharing, ATransactionIsSeenWholeOrNotAtAll) {
  {
    Transaction transaction = *Transaction::begin(mine_);
    must_run(mine_, "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3);");
    EXPECT_EQ(integer_of(mine_, "SELECT count(*) FROM t;"), 3);
    EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 1);
    ASSERT_TRUE(transaction.commit().ok());
    EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 3);
  }
  EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 3);
}

TEST_F(DatabaseSharing, ATransactionRollsBackUnlessCommitted) {
  {
    Transaction transaction = *Transaction::begin(mine_);
    must_run(mine_, "DELETE FROM t;");
  }
  EXPECT_EQ(integer_of(mine_, "SELECT count(*) FROM t;"), 1);
  // And leaves no lock behind.
  must_run(theirs_, "INSERT INTO t VALUES (2);");
  Transaction again = *Transaction::begin(mine_);
  must_run(mine_, "INSERT INTO t VALUES (3);");
  Transaction moved(std::move(again));
  EXPECT_TRUE(moved.commit().ok());
  EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 3);
}

TEST_F(DatabaseSharing, AnErrorReturnedFromATransactionRollsItBack) {
  const auto change = [this]() -> Result<void> {
    Transaction transaction = TRY(Transaction::begin(mine_));
    TRY(mine_.execute("INSERT INTO t VALUES (2);"));
    TRY(mine_.execute("INSERT INTO nowhere VALUES (3);"));
    return transaction.commit();
  };
  EXPECT_FALSE(change().ok());
  EXPECT_EQ(integer_of(mine_, "SELECT count(*) FROM t;"), 1);
  EXPECT_TRUE(Transaction::begin(mine_).ok());
}

TEST_F(DatabaseSharing, RollsBackWhileAQueryIsOpen) {
  auto statement = mine_.prepare("SELECT a FROM t;");
  {
    Transaction transaction = *Transaction::begin(mine_);
    must_run(mine_, "INSERT INTO t VALUES (2);");
    Query query = statement->start();
    ASSERT_TRUE(*query.next());
    Transaction(std::move(transaction));  // ends here
    EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 1);
  }
  EXPECT_EQ(integer_of(mine_, "SELECT count(*) FROM t;"), 1);
  must_run(theirs_, "INSERT INTO t VALUES (2);");
}

TEST_F(DatabaseSharing, TransactionsDoNotNest) {
  Transaction outer = *Transaction::begin(mine_);
  must_run(mine_, "INSERT INTO t VALUES (2);");
  EXPECT_FALSE(Transaction::begin(mine_).ok());
  ASSERT_TRUE(outer.commit().ok());
  EXPECT_EQ(integer_of(theirs_, "SELECT count(*) FROM t;"), 2);
}

TEST_F(DatabaseSharing, AWriteOnAnOldSnapshotIsBusyAtOnce) {
  must_run(mine_, "BEGIN; SELECT a FROM t;");
  must_run(theirs_, "INSERT INTO t VALUES (2);");
  const auto write = mine_.execute("INSERT INTO t VALUES (3);");
  ASSERT_FALSE(write.ok());
  EXPECT_EQ(write.error().code, Code::kBusy);
  must_run(mine_, "ROLLBACK;");
  must_run(mine_, "INSERT INTO t VALUES (3);");
}

TEST_F(DatabaseSharing, WritersWaitForEachOther) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 15;
  must_run(mine_, "UPDATE t SET a = 0;");
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      Database database = must_open(path_, Mode::kReadWrite);
      for (int round = 0; round < kRounds; ++round) {
        auto transaction = Transaction::begin(database);
        // Read, then write what follows from it: right only if nobody is between.
        if (!transaction) {
          ++failures;
          continue;
        }
        const std::int64_t before = integer_of(database, "SELECT a FROM t;");
        auto update = database.prepare("UPDATE t SET a = ?1;");
        if (!update || !update->start(before + 1).run() || !transaction->commit()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(integer_of(mine_, "SELECT a FROM t;"), kThreads * kRounds);
}

}  // namespace
}  // namespace coffer
