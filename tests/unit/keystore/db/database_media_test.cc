// Full disks and read-only ones.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "keystore/db/database.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;
using testing::Mount;
using testing::TempDir;

/// A directory "disk" that the test mounts over.
class DatabaseMedia : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::is_root()) COFFER_SKIP("only root may mount");
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(disk_.c_str(), 0755), 0);
  }

  [[nodiscard]] std::string on_disk(const std::string& name) const { return disk_ + "/" + name; }

  TempDir dir_;
  std::string disk_ = dir_.file("disk");
};

TEST_F(DatabaseMedia, AFullDiskIsSaidToBeOne) {
  const auto mounted = Mount::tmpfs(disk_, 512 * 1024);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  Database database = make_database(on_disk("k.db"));
  must_run(database, "CREATE TABLE b (x BLOB) STRICT;");
  auto insert = database.prepare("INSERT INTO b VALUES (zeroblob(50000));");
  ASSERT_TRUE(insert.ok());
  Result<void> done;
  std::int64_t rows = 0;
  while (rows < 1000 && (done = insert->start().run())) ++rows;
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kNoSpace) << done.error().message();
  EXPECT_EQ(done.error().errno_value, ENOSPC);
  // What was committed is there, and what failed is not.
  EXPECT_EQ(integer_of(database, "SELECT count(*) FROM b;"), rows);
  EXPECT_EQ(text_of(database, "PRAGMA integrity_check;"), "ok");
}

TEST_F(DatabaseMedia, CreateOnAFullDiskLeavesNothingBehind) {
  // Else the next try would find "something already there".
  const auto mounted = Mount::tmpfs(disk_, 64 * 1024);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  ASSERT_TRUE(create_file(on_disk("filler"), ByteVector(60 * 1024), 0600).ok());
  const auto made = Database::open(on_disk("k.db"), Mode::kCreate);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::kNoSpace) << made.error().message();
  EXPECT_EQ(names_in(disk_), Names{"filler"});
}

TEST_F(DatabaseMedia, OnAReadOnlyMountItCanBeRead) {
  make_database(on_disk("a?b#c%41.db"));
  ASSERT_EQ(names_in(disk_), Names{"a?b#c%41.db"});
  const auto mounted = Mount::read_only(disk_);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  Database database = must_open(on_disk("a?b#c%41.db"), Mode::kReadOnly);
  EXPECT_EQ(integer_of(database, "SELECT a FROM t;"), 1);
  EXPECT_EQ(database.execute("INSERT INTO t VALUES (2);").error().code, Code::kReadOnly);
}

TEST_F(DatabaseMedia, OnAReadOnlyMountWhoMayReadItCan) {
  make_database(on_disk("k.db"));
  ASSERT_EQ(::chmod(on_disk("k.db").c_str(), 0444), 0);
  const auto mounted = Mount::read_only(disk_);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  const testing::AsNobody nobody;
  Database database = must_open(on_disk("k.db"), Mode::kReadOnly);
  EXPECT_EQ(integer_of(database, "SELECT a FROM t;"), 1);
}

TEST_F(DatabaseMedia, OnAReadOnlyMountItCantBeWritten) {
  make_database(on_disk("k.db"));
  const auto mounted = Mount::read_only(disk_);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  for (const Mode mode : {Mode::kReadWrite, Mode::kCreate}) {
    const auto opened = Database::open(on_disk(mode == Mode::kCreate ? "new.db" : "k.db"), mode);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Code::kReadOnly) << opened.error().message();
  }
}

TEST_F(DatabaseMedia, ACommittedLogIsNeverPassedOver) {
  // A copy taken of a keystore in use: the newest commits are in the log, which can't be read
  // without writing. An old state must not be shown for the present one.
  const std::string live = dir_.file("live.db");
  Database writer = make_database(live);
  must_run(writer, "PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM t;");
  for (const char* suffix : {"", "-wal"}) {
    fs::copy_file(live + suffix, on_disk(std::string("k.db") + suffix));
  }
  ASSERT_GT(fs::file_size(on_disk("k.db-wal")), 0U);
  const auto mounted = Mount::read_only(disk_);
  if (mounted == nullptr) COFFER_SKIP("mounting is not permitted here");
  const auto opened = Database::open(on_disk("k.db"), Mode::kReadOnly);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::kReadOnly);
  EXPECT_NE(opened.error().message().find("k.db-wal"), std::string::npos);
}

TEST_F(DatabaseMedia, AReaderIsNeverImmutableWhereOthersMayWrite) {
  // The directory can't be written by this user, but the disk can: an immutable database would be
  // read without locks under the feet of who writes it.
  Database writer = make_database(on_disk("k.db"));
  for (const std::string& name : names_in(disk_)) {
    ASSERT_EQ(::chmod(on_disk(name).c_str(), 0644), 0);
  }
  const testing::AsNobody nobody;
  Database reader = must_open(on_disk("k.db"), Mode::kReadOnly);
  EXPECT_EQ(integer_of(reader, "SELECT count(*) FROM t;"), 1);
  must_run(writer, "INSERT INTO t VALUES (2);");
  EXPECT_EQ(integer_of(reader, "SELECT count(*) FROM t;"), 2);
}

TEST_F(DatabaseMedia, AReaderWhoMayNotWriteBesideItIsToldSo) {
  // With no writer at work there are no -wal and -shm files, which even a reader needs.
  make_database(on_disk("k.db"));
  ASSERT_EQ(::chmod(on_disk("k.db").c_str(), 0644), 0);
  const testing::AsNobody nobody;
  const auto opened = Database::open(on_disk("k.db"), Mode::kReadOnly);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::kReadOnly);
  EXPECT_NE(opened.error().message().find("directory"), std::string::npos)
      << opened.error().message();
}

}  // namespace
}  // namespace coffer
