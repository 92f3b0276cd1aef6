// The settings of keystore/FORMAT.md, by what they do.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "keystore/base/unique_fd.h"
#include "keystore/db/database.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

using testing::TempDir;

class DatabaseSettings : public ::testing::TestWithParam<Mode> {
 protected:
  DatabaseSettings() {
    make_database(path_);
    database_.emplace(must_open(path_, GetParam()));
  }
  TempDir dir_;
  std::string path_ = dir_.file("k.db");
  std::optional<Database> database_;
};

INSTANTIATE_TEST_SUITE_P(Modes, DatabaseSettings,
                         ::testing::Values(Mode::kReadWrite, Mode::kReadOnly));

TEST_P(DatabaseSettings, AreOnInEveryConnection) {
  EXPECT_EQ(text_of(*database_, "PRAGMA journal_mode;"), "wal");
  EXPECT_EQ(integer_of(*database_, "PRAGMA foreign_keys;"), 1);
  EXPECT_EQ(integer_of(*database_, "PRAGMA cell_size_check;"), 1);
  EXPECT_EQ(integer_of(*database_, "PRAGMA temp_store;"), 2);
  EXPECT_EQ(integer_of(*database_, "PRAGMA mmap_size;"), 0);
  EXPECT_EQ(integer_of(*database_, "PRAGMA trusted_schema;"), 0);
  EXPECT_EQ(integer_of(*database_, "PRAGMA busy_timeout;"), 10'000);
  EXPECT_EQ(text_of(*database_, "PRAGMA encoding;"), "UTF-8");
  if (GetParam() != Mode::kReadOnly) {
    EXPECT_EQ(integer_of(*database_, "PRAGMA synchronous;"), 2);
    EXPECT_EQ(integer_of(*database_, "PRAGMA secure_delete;"), 1);
  }
}

TEST_P(DatabaseSettings, TheSchemaCantBeWrittenByHand) {
  EXPECT_FALSE(database_
                   ->execute("PRAGMA writable_schema = ON;"
                             "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (b)';")
                   .ok());
  EXPECT_EQ(text_of(*database_, "SELECT sql FROM sqlite_schema;"),
            "CREATE TABLE t (a INTEGER) STRICT");
}

TEST_P(DatabaseSettings, AForeignViewIsNotRead) {
  // One whom the keystore belongs to may have put it there.
  {
    Database owner = must_open(path_, Mode::kReadWrite);
    must_run(owner, "ALTER TABLE t RENAME TO hidden; CREATE VIEW t AS SELECT 666 AS a;");
  }
  EXPECT_FALSE(database_->execute("SELECT a FROM t;").ok());
}

TEST(DatabaseDefence, AForeignTriggerDoesNotFire) {
  const TempDir dir;
  Database database = make_database(dir.file("k.db"));
  must_run(database,
           "CREATE TABLE stolen (a INTEGER) STRICT;"
           "CREATE TRIGGER steal AFTER INSERT ON t BEGIN INSERT INTO stolen VALUES (new.a); END;"
           "INSERT INTO t VALUES (7);");
  EXPECT_EQ(integer_of(database, "SELECT count(*) FROM t;"), 2);
  EXPECT_EQ(integer_of(database, "SELECT count(*) FROM stolen;"), 0);
}

TEST(DatabaseDefence, TheJournalCantBeTurnedOff) {
  const TempDir dir;
  Database database = make_database(dir.file("k.db"));
  (void)database.execute("PRAGMA journal_mode = OFF;");
  EXPECT_EQ(text_of(database, "PRAGMA journal_mode;"), "wal");
}

/// Whether the bytes stand anywhere in the file.
bool file_holds(const std::string& path, const ByteVector& marker) {
  const auto content = read_small_file(path, 50 << 20);
  if (!content) return false;
  return std::search(content->begin(), content->end(), marker.begin(), marker.end()) !=
         content->end();
}

TEST(DatabaseDefence, WhatIsDeletedIsGoneFromTheDisk) {
  // 61 bytes, a wrapped key; and more than a page.
  for (const std::size_t size : {61U, 20'000U}) {
    const TempDir dir;
    const std::string path = dir.file("k.db");
    Database database = must_open(path, Mode::kCreate);
    must_run(database, "CREATE TABLE k (id INTEGER PRIMARY KEY, wrapped BLOB) STRICT;");
    ByteVector blob(size);
    for (std::size_t i = 0; i < size; ++i) blob[i] = static_cast<std::uint8_t>(i * 151 + i / 256);
    const ByteVector head(blob.begin(), blob.begin() + 32);
    const ByteVector tail(blob.end() - 32, blob.end());

    auto insert = database.prepare("INSERT INTO k VALUES (?1, ?2);");
    ASSERT_TRUE(insert.ok());
    for (int id = 0; id < 40; ++id) {
      ASSERT_TRUE(insert->start(id, id == 20 ? blob : ByteVector(61, 1)).run().ok());
    }
    EXPECT_TRUE(file_holds(path + "-wal", head)) << "the test can't see what it looks for";
    must_run(database, "PRAGMA wal_checkpoint(TRUNCATE);");
    EXPECT_TRUE(file_holds(path, head)) << "the test can't see what it looks for";
    EXPECT_TRUE(file_holds(path, tail)) << "the test can't see what it looks for";

    must_run(database, "DELETE FROM k WHERE id = 20;");
    must_run(database, "PRAGMA wal_checkpoint(TRUNCATE);");
    for (const std::string& name : {path, path + "-wal"}) {
      EXPECT_FALSE(file_holds(name, head)) << name;
      EXPECT_FALSE(file_holds(name, tail)) << name;
    }
    EXPECT_EQ(integer_of(database, "SELECT count(*) FROM k;"), 39);
  }
}

TEST(DatabaseDefence, WhatIsOverwrittenIsGoneFromTheDisk) {
  const TempDir dir;
  const std::string path = dir.file("k.db");
  Database database = must_open(path, Mode::kCreate);
  must_run(database, "CREATE TABLE k (id INTEGER PRIMARY KEY, wrapped BLOB) STRICT;");
  const ByteVector old_key(61, 0xa7);
  {
    auto insert = database.prepare("INSERT INTO k VALUES (1, ?1);");
    ASSERT_TRUE(insert->start(old_key).run().ok());
    must_run(database, "PRAGMA wal_checkpoint(TRUNCATE);");
    EXPECT_TRUE(file_holds(path, old_key));
    auto update = database.prepare("UPDATE k SET wrapped = ?1;");
    ASSERT_TRUE(update->start(ByteVector(10, 0x11)).run().ok());  // shorter: leaves a gap
    must_run(database, "PRAGMA wal_checkpoint(TRUNCATE);");
  }
  EXPECT_FALSE(file_holds(path, ByteVector(16, 0xa7)));
  EXPECT_FALSE(file_holds(path + "-wal", ByteVector(16, 0xa7)));
}

TEST(DatabaseDefence, ADamagedPageIsAnErrorNotACrash) {
  const TempDir dir;
  const std::string path = dir.file("k.db");
  {
    Database database = must_open(path, Mode::kCreate);
    must_run(database,
             "CREATE TABLE k (id INTEGER PRIMARY KEY, b BLOB) STRICT;"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
             "INSERT INTO k SELECT i, zeroblob(61) FROM n;");
  }
  const ByteVector whole = *read_small_file(path, 1 << 20);
  ASSERT_GT(whole.size(), 6U * 4096U);
  for (std::size_t page = 1; page < 6; ++page) {
    ByteVector damaged = whole;
    std::fill_n(damaged.begin() + static_cast<std::ptrdiff_t>(page * 4096), 4096, 0xff);
    ASSERT_TRUE(replace_file(path, damaged, 0600).ok());
    Database database = must_open(path, Mode::kReadOnly);
    const auto read = database.execute("SELECT sum(length(b)) FROM k;");
    ASSERT_FALSE(read.ok()) << page;
    EXPECT_EQ(read.error().code, Code::kCorrupt) << read.error().message();
  }
}

}  // namespace
}  // namespace coffer
