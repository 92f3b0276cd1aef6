#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "keystore/db/database.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;
using testing::TempDir;

TEST(DatabaseOpen, CreateMakesAnEmptyPrivateFile) {
  for (const mode_t mask : {0U, 022U, 077U, 0777U}) {
    const TempDir dir;
    const testing::Umask umask(mask);
    Database database = must_open(dir.file("k.db"), Mode::kCreate);
    must_run(database, "CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES (1);");
    EXPECT_EQ(names_in(dir.path()), (Names{"k.db", "k.db-shm", "k.db-wal"}));
    for (const std::string& name : names_in(dir.path())) {
      EXPECT_EQ(mode_of(dir.file(name)), 0600U) << name << " under umask " << mask;
    }
  }
}

TEST(DatabaseOpen, CreateLeavesAnExistingFileAsItIs) {
  const TempDir dir;
  make_database(dir.file("k.db"));
  const auto again = Database::open(dir.file("k.db"), Mode::kCreate);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kExists);
  Database database = must_open(dir.file("k.db"), Mode::kReadWrite);
  EXPECT_EQ(integer_of(database, "SELECT a FROM t;"), 1);

  ASSERT_TRUE(create_file(dir.file("other"), as_bytes("something else"), 0600).ok());
  EXPECT_EQ(Database::open(dir.file("other"), Mode::kCreate).error().code, Code::kExists);
  EXPECT_EQ(as_text(*read_small_file(dir.file("other"), 99)), "something else");
}

TEST(DatabaseOpen, TheLastOneClosedLeavesOneFile) {
  const TempDir dir;
  make_database(dir.file("k.db"));
  EXPECT_EQ(names_in(dir.path()), Names{"k.db"});
}

TEST(DatabaseOpen, MissingOnesAreNotMade) {
  const TempDir dir;
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    for (const char* name : {"k.db", "no/k.db"}) {
      const auto opened = Database::open(dir.file(name), mode);
      ASSERT_FALSE(opened.ok());
      EXPECT_EQ(opened.error().code, Code::kNotFound);
      EXPECT_NE(opened.error().message().find(dir.file(name)), std::string::npos);
    }
  }
  EXPECT_EQ(Database::open(dir.file("no/k.db"), Mode::kCreate).error().code, Code::kNotFound);
  EXPECT_EQ(names_in(dir.path()), Names{});
}

TEST(DatabaseOpen, RefusesOtherFiles) {
  const TempDir dir;
  const std::string paths[] = {dir.file("text"), dir.file("short"), dir.file("noise"),
                               dir.file("empty")};
  ASSERT_TRUE(create_file(paths[0], ByteVector(5000, 'x'), 0600).ok());
  ASSERT_TRUE(create_file(paths[1], as_bytes("x"), 0600).ok());
  ByteVector noise(8192);
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<std::uint8_t>(i * i / 3);
  ASSERT_TRUE(create_file(paths[2], noise, 0600).ok());
  ASSERT_TRUE(create_file(paths[3], {}, 0600).ok());
  for (const std::string& path : paths) {
    for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
      const ByteVector before = *read_small_file(path, 10'000);
      const auto opened = Database::open(path, mode);
      ASSERT_FALSE(opened.ok()) << path;
      EXPECT_EQ(opened.error().code, Code::kCorrupt) << opened.error().message();
      EXPECT_EQ(*read_small_file(path, 10'000), before) << "altered " << path;
    }
  }
}

TEST(DatabaseOpen, RefusesWhatIsNoFile) {
  const TempDir dir;
  ASSERT_EQ(::mkdir(dir.file("k.db").c_str(), 0700), 0);
  for (const Mode mode : {Mode::kCreate, Mode::kReadWrite, Mode::kReadOnly}) {
    EXPECT_FALSE(Database::open(dir.file("k.db"), mode).ok());
    EXPECT_FALSE(Database::open(dir.path() + "/", mode).ok());
  }
  ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    EXPECT_EQ(Database::open(dir.file("fifo"), mode).error().code, Code::kInvalid);
  }
  EXPECT_EQ(names_in(dir.path()), (Names{"fifo", "k.db"}));
}

TEST(DatabaseOpen, FollowsNoSymlinkAtTheEnd) {
  const TempDir dir;
  make_database(dir.file("real.db"));
  ASSERT_EQ(::symlink("real.db", dir.file("link.db").c_str()), 0);
  ASSERT_EQ(::symlink("nothing.db", dir.file("dangling.db").c_str()), 0);
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    const auto opened = Database::open(dir.file("link.db"), mode);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Code::kInvalid) << opened.error().message();
    EXPECT_EQ(opened.error().errno_value, ELOOP);
    EXPECT_FALSE(Database::open(dir.file("dangling.db"), mode).ok());
  }
  EXPECT_EQ(Database::open(dir.file("link.db"), Mode::kCreate).error().code, Code::kExists);
  EXPECT_EQ(Database::open(dir.file("dangling.db"), Mode::kCreate).error().code, Code::kExists);
  EXPECT_EQ(names_in(dir.path()), (Names{"real.db", "link.db", "dangling.db"}));
}

TEST(DatabaseOpen, DirectoriesMayBeSymlinks) {
  // A store on another disk is often reached by one: /models -> /mnt/nvme0/models.
  const TempDir dir;
  ASSERT_EQ(::mkdir(dir.file("disk").c_str(), 0700), 0);
  ASSERT_EQ(::symlink("disk", dir.file("models").c_str()), 0);
  make_database(dir.file("models/k.db"));
  EXPECT_EQ(names_in(dir.file("disk")), Names{"k.db"});
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    Database database = must_open(dir.file("models/k.db"), mode);
    EXPECT_EQ(integer_of(database, "SELECT a FROM t;"), 1);
  }
}

TEST(DatabaseOpen, ANameIsOnlyAName) {
  // SQLite has names of its own kind: memory, temporary files, URIs.
  const TempDir dir;
  const auto before = fs::current_path();
  fs::current_path(dir.path());
  const char* const names[] = {":memory:", "file:x?mode=memory", "file:y", "a?b#c%41 d.db",
                               "-k.db"};
  for (const char* name : names) {
    make_database(name);
    for (const Mode mode : {Mode::kReadOnly, Mode::kReadWrite}) {
      auto opened = Database::open(name, mode);
      if (!opened) {
        ADD_FAILURE() << name << ": " << opened.error().message();
        continue;
      }
      auto row = opened->execute("SELECT a FROM t;");
      EXPECT_TRUE(row.ok()) << name << ": " << row.error().message();
    }
  }
  fs::current_path(before);
  EXPECT_EQ(names_in(dir.path()), Names(std::begin(names), std::end(names)));
}

TEST(DatabaseOpen, ReadOnlyWritesNothing) {
  const TempDir dir;
  make_database(dir.file("k.db"));
  Database database = must_open(dir.file("k.db"), Mode::kReadOnly);
  EXPECT_EQ(integer_of(database, "SELECT a FROM t;"), 1);
  EXPECT_EQ(database.execute("INSERT INTO t VALUES (2);").error().code, Code::kReadOnly);
  EXPECT_EQ(database.execute("DROP TABLE t;").error().code, Code::kReadOnly);
  EXPECT_EQ(integer_of(database, "SELECT count(*) FROM t;"), 1);
}

TEST(DatabaseOpen, ReadOnlySeesWhatAWriterHasNotYetCheckpointed) {
  const TempDir dir;
  Database writer = make_database(dir.file("k.db"));
  Database reader = must_open(dir.file("k.db"), Mode::kReadOnly);
  EXPECT_EQ(integer_of(reader, "SELECT count(*) FROM t;"), 1);
  must_run(writer, "INSERT INTO t VALUES (2);");
  EXPECT_EQ(integer_of(reader, "SELECT count(*) FROM t;"), 2);
}

TEST(DatabaseOpen, WithoutPermissionSaysSo) {
  if (!testing::is_root()) COFFER_SKIP("only root can act as another user");
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  make_database(dir.file("secret.db"));
  make_database(dir.file("public.db"));
  ASSERT_EQ(::chmod(dir.file("public.db").c_str(), 0644), 0);
  const testing::AsNobody nobody;
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    const auto opened = Database::open(dir.file("secret.db"), mode);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Code::kDenied) << opened.error().message();
    EXPECT_EQ(opened.error().errno_value, EACCES);
  }
  EXPECT_EQ(Database::open(dir.file("new.db"), Mode::kCreate).error().code, Code::kDenied);
  // Readable, but not to be written.
  const auto opened = Database::open(dir.file("public.db"), Mode::kReadWrite);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::kReadOnly) << opened.error().message();
}

}  // namespace
}  // namespace coffer
