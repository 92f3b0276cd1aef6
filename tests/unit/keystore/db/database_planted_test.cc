// Files that someone who can write the directory has put beside the keystore.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>
#include <string>

#include "keystore/db/database.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

constexpr const char* kPrecious = "not the keystore's business\n";

class DatabasePlanted : public ::testing::Test {
 protected:
  DatabasePlanted() {
    make_database(path_);
    EXPECT_TRUE(create_file(victim_, as_bytes(kPrecious), 0600).ok());
  }

  void expect_victim_unharmed() {
    const auto content = read_small_file(victim_, 1 << 20);
    ASSERT_TRUE(content.ok()) << content.error().message();
    EXPECT_EQ(as_text(*content), kPrecious);
  }

  TempDir dir_;
  std::string path_ = dir_.file("k.db");
  std::string victim_ = fs::canonical(dir_.path()).string() + "/victim";
};

void append_be(ByteVector& bytes, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

/// A rollback journal without pages that names `super_journal` (SQLite's file format, section 3).
ByteVector hot_journal(std::uint32_t pages, const std::string& super_journal) {
  const ByteVector magic = *from_hex("d9d505f920a163d7");
  ByteVector journal = magic;
  for (const std::uint32_t field : {0U, 0U, pages, 512U, 4096U}) append_be(journal, field);
  journal.resize(512);
  append_be(journal, 0x40000000 / 4096 + 1);
  journal.insert(journal.end(), super_journal.begin(), super_journal.end());
  append_be(journal, static_cast<std::uint32_t>(super_journal.size()));
  append_be(journal, std::accumulate(super_journal.begin(), super_journal.end(), 0U));
  journal.insert(journal.end(), magic.begin(), magic.end());
  return journal;
}

TEST_F(DatabasePlanted, AJournalCantHaveOtherFilesDeleted) {
  const auto pages = static_cast<std::uint32_t>(fs::file_size(path_) / 4096);
  ASSERT_TRUE(create_file(path_ + "-journal", hot_journal(pages, victim_), 0600).ok());
  for (const Mode mode : {Mode::kReadWrite, Mode::kReadOnly}) {
    const auto opened = Database::open(path_, mode);
    expect_victim_unharmed();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Code::kCorrupt);
    EXPECT_NE(opened.error().message().find(path_ + "-journal"), std::string::npos);
  }
}

TEST_F(DatabasePlanted, SymlinksAreNotWrittenThrough) {
  for (const char* suffix : {"-wal", "-shm", "-journal"}) {
    SCOPED_TRACE(suffix);
    ASSERT_EQ(::symlink(victim_.c_str(), (path_ + suffix).c_str()), 0);
    auto opened = Database::open(path_, Mode::kReadWrite);
    if (opened) (void)opened->execute("INSERT INTO t VALUES (2);");
    expect_victim_unharmed();
    opened = Error{Code::kIo, 0, "closed"};
    expect_victim_unharmed();
    fs::remove(path_ + suffix);
  }
}

TEST_F(DatabasePlanted, ALogOfNoiseIsNoCommit) {
  ByteVector noise(100'000);
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<std::uint8_t>(i * i / 7);
  ASSERT_TRUE(create_file(path_ + "-wal", noise, 0600).ok());
  Database database = must_open(path_, Mode::kReadWrite);
  EXPECT_EQ(integer_of(database, "SELECT sum(a) FROM t;"), 1);
}

TEST_F(DatabasePlanted, AnotherSchemaIsDamage) {
  Database database = must_open(path_, Mode::kReadWrite);
  const auto column = database.prepare("SELECT missing FROM t;");
  ASSERT_FALSE(column.ok());
  EXPECT_EQ(column.error().code, Code::kCorrupt);
  EXPECT_NE(column.error().message().find("missing"), std::string::npos);
  EXPECT_EQ(database.prepare("SELECT 1 FROM missing;").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace coffer
