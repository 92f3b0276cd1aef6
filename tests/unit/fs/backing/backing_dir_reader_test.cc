#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "tests/support/fs_random.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::seed_trace;
using testing::TempDir;

struct Seen {
  std::string name;
  std::uint64_t inode;
  unsigned char type;
  std::int64_t next;
};

std::vector<Seen> rest_of(BackingDirReader& reader) {
  std::vector<Seen> entries;
  while (true) {
    const auto entry = reader.next();
    if (!entry || !entry->has_value()) {
      EXPECT_TRUE(entry.ok());
      return entries;
    }
    entries.push_back(
        {std::string((*entry)->name), (*entry)->inode, (*entry)->type, (*entry)->next});
  }
}

std::vector<std::string> names_of(const std::vector<Seen>& entries, std::size_t from = 0) {
  std::vector<std::string> names;
  for (std::size_t i = from; i < entries.size(); ++i) names.push_back(entries[i].name);
  return names;
}

class BackingDirReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = *BackingDir::open_root(real_syscalls(), temp_.path());
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(dir_->create_file(name(i), 0600).ok());
    }
  }
  static std::string name(int i) { return "some-longer-name-" + std::to_string(i); }

  TempDir temp_;
  std::shared_ptr<const BackingDir> dir_;
};

TEST_F(BackingDirReaderTest, SeesEachEntryOnce) {
  ASSERT_TRUE(dir_->make_dir("d", 0700).ok());
  ASSERT_TRUE(dir_->make_symlink("s", "t").ok());
  const auto reader = *dir_->reader();
  const auto entries = rest_of(*reader);
  ASSERT_EQ(entries.size(), 504U);
  std::map<std::string, Seen> by_name;
  for (const Seen& entry : entries) by_name.emplace(entry.name, entry);
  ASSERT_EQ(by_name.size(), 504U);
  EXPECT_EQ(by_name.count("."), 1U);
  EXPECT_EQ(by_name.count(".."), 1U);
  EXPECT_EQ(by_name.at("d").inode, dir_->status_of("d")->st_ino);
  const auto type_is = [&](const char* entry, unsigned char type) {
    return by_name.at(entry).type == type || by_name.at(entry).type == DT_UNKNOWN;
  };
  EXPECT_TRUE(type_is("d", DT_DIR));
  EXPECT_TRUE(type_is("s", DT_LNK));
  EXPECT_TRUE(type_is(name(7).c_str(), DT_REG));
}

TEST_F(BackingDirReaderTest, GoesOnFromAnyPositionInAnyOrder) {
  const auto reader = *dir_->reader();
  const auto entries = rest_of(*reader);
  constexpr std::uint64_t kSeed = 61;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  for (int round = 0; round < 300; ++round) {
    const std::size_t from = choose.below(entries.size());
    reader->seek(entries[from].next);
    // Sometimes only a little is read before the next jump.
    if (choose.one_in(2)) {
      const auto entry = reader->next();
      ASSERT_TRUE(entry.ok());
      if (from + 1 == entries.size()) {
        ASSERT_FALSE(entry->has_value());
      } else {
        ASSERT_EQ((*entry)->name, entries[from + 1].name);
      }
      continue;
    }
    ASSERT_EQ(names_of(rest_of(*reader)), names_of(entries, from + 1)) << "from " << from;
  }
}

TEST_F(BackingDirReaderTest, StartsOverAtZero) {
  const auto reader = *dir_->reader();
  reader->seek(0);
  const auto first = rest_of(*reader);
  EXPECT_TRUE(rest_of(*reader).empty()) << "the end stays the end";
  reader->seek(0);
  EXPECT_EQ(names_of(rest_of(*reader)), names_of(first));
  reader->seek(0);
  (void)reader->next();
  reader->seek(0);
  EXPECT_EQ(names_of(rest_of(*reader)), names_of(first));
}

TEST_F(BackingDirReaderTest, StartingOverSeesWhatIsNew) {
  const auto reader = *dir_->reader();
  (void)rest_of(*reader);
  ASSERT_TRUE(dir_->create_file("new", 0600).ok());
  ASSERT_TRUE(dir_->remove_file(name(3)).ok());
  reader->seek(0);
  const auto names = names_of(rest_of(*reader));
  const std::set<std::string> seen(names.begin(), names.end());
  EXPECT_EQ(seen.count("new"), 1U);
  EXPECT_EQ(seen.count(name(3)), 0U);
}

TEST_F(BackingDirReaderTest, PositionsOutliveTheReaderAndOtherEntries) {
  std::vector<Seen> entries;
  {
    const auto reader = *dir_->reader();
    entries = rest_of(*reader);
  }
  // Everything before the middle goes; the position of the middle stays good.
  const std::size_t middle = entries.size() / 2;
  for (std::size_t i = 0; i < middle; ++i) {
    if (entries[i].name[0] != '.') {
      ASSERT_TRUE(dir_->remove_file(entries[i].name).ok());
    }
  }
  const auto reader = *dir_->reader();
  reader->seek(entries[middle].next);
  EXPECT_EQ(names_of(rest_of(*reader)), names_of(entries, middle + 1));
}

TEST_F(BackingDirReaderTest, TwoReadersDoNotDisturbEachOther) {
  const auto a = *dir_->reader();
  const auto b = *dir_->reader();
  const auto whole = names_of(rest_of(*a));
  a->seek(0);
  std::vector<std::string> by_turns;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const auto entry = a->next();
    ASSERT_TRUE(entry.ok() && entry->has_value());
    by_turns.emplace_back((*entry)->name);
    if (i % 7 == 0) (void)b->next();
  }
  EXPECT_EQ(by_turns, whole);
}

}  // namespace
}  // namespace coffer
