// What a node remembers of a keystore: never lowered, believed only if whole.

#include "keystore/keyring/newest_seen.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "keystore/base/unique_fd.h"
#include "keystore/crypto/random.h"
#include "tests/support/keystore_process.h"
#include "tests/support/keystore_store.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::file_bytes;
using testing::outcome;
using testing::TempDir;

KeystoreState state(std::uint64_t generation, std::uint8_t mark = 1) {
  KeystoreState made{.generation = generation};
  made.mark.fill(mark);
  return made;
}

class NewestSeenFile : public ::testing::Test {
 protected:
  NewestSeenFile() { random_bytes(store_.bytes); }

  NewestSeen at(const std::string& path) {
    return NewestSeen(
        {.path = path, .report = [this](const Error& error) { told_.push_back(error.message()); }},
        store_);
  }
  std::optional<KeystoreState> remembered() { return at(path_).newest(); }
  void write(const std::string& content) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
  }
  std::string content() {
    const ByteVector bytes = file_bytes(path_);
    return {bytes.begin(), bytes.end()};
  }

  TempDir dir_;
  std::string path_ = dir_.file("state/store/keystore.seen");
  StoreId store_;
  std::vector<std::string> told_;
};

TEST_F(NewestSeenFile, TheLineIsAsTheFormatSays) {
  at(path_).raise(state(7, 0xab));
  std::string expected = "coffer-seen-1 " + store_.hex() + " 00000000000000000007 ";
  for (int i = 0; i < 32; ++i) expected += "ab";
  expected += " " + to_hex(sha256(as_bytes(expected))).substr(0, 16) + "\n";
  EXPECT_EQ(content(), expected);
  EXPECT_EQ(expected.size(), 150U);
  struct stat file {};
  struct stat directory {};
  ASSERT_EQ(::stat(path_.c_str(), &file), 0);
  ASSERT_EQ(::stat(dir_.file("state/store").c_str(), &directory), 0);
  EXPECT_EQ(file.st_mode & 07777U, 0600U);
  EXPECT_EQ(directory.st_mode & 07777U, 0700U);
}

TEST_F(NewestSeenFile, WhatIsRememberedOnlyRises) {
  EXPECT_FALSE(remembered().has_value());
  EXPECT_FALSE(std::filesystem::exists(path_)) << "made by asking";
  at(path_).raise(state(5));
  EXPECT_EQ(remembered(), state(5));
  at(path_).raise(state(4));
  at(path_).raise(state(5, 2));
  EXPECT_EQ(remembered(), state(5));
  at(path_).raise(state(UINT64_MAX, 3));
  EXPECT_EQ(remembered(), state(UINT64_MAX, 3));
  EXPECT_TRUE(told_.empty()) << told_.front();
}

TEST_F(NewestSeenFile, OlderAndForkedStatesAreRefused) {
  EXPECT_EQ(outcome(NewestSeen::compare(state(1), std::nullopt)), "ok");
  EXPECT_EQ(outcome(NewestSeen::compare(state(5), state(5))), "ok");
  EXPECT_EQ(outcome(NewestSeen::compare(state(6, 2), state(5))), "ok");
  const auto older = NewestSeen::compare(state(4), state(5));
  EXPECT_EQ(outcome(older), "rolled-back");
  for (const char* const word : {"generation 4", "seen 5", "; ", "coffer accept STORE"}) {
    EXPECT_NE(older.error().message().find(word), std::string::npos) << older.error().message();
  }
  EXPECT_EQ(outcome(NewestSeen::compare(state(5, 2), state(5))), "rolled-back");
}

TEST_F(NewestSeenFile, WhatIsTornOrStrangeCountsAsNothingAndIsToldOnce) {
  at(path_).raise(state(9));
  const std::string whole = content();
  std::vector<std::string> damaged = {"", "x", whole + "x", whole + whole, std::string(150, '\0')};
  for (std::size_t length = 1; length < whole.size(); length += 11) {
    damaged.push_back(whole.substr(0, length));
    damaged.push_back(whole.substr(0, length) + std::string(whole.size() - length, '\0'));
  }
  for (std::size_t at = 0; at < whole.size() - 1; at += 7) {
    std::string flipped = whole;
    flipped[at] = flipped[at] == '0' ? '1' : '0';
    damaged.push_back(flipped);
  }
  for (const std::string& line : damaged) {
    write(line);
    told_.clear();
    NewestSeen seen = at(path_);
    EXPECT_FALSE(seen.newest().has_value()) << line;
    EXPECT_FALSE(seen.newest().has_value());
    ASSERT_EQ(told_.size(), 1U) << line;
    EXPECT_NE(told_.front().find(path_), std::string::npos);
    seen.raise(state(3));
    EXPECT_EQ(remembered(), state(3)) << "mended by the next state";
  }
}

TEST_F(NewestSeenFile, AnotherStoresLineIsNotBelieved) {
  at(path_).raise(state(9));
  random_bytes(store_.bytes);
  EXPECT_FALSE(remembered().has_value());
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_NE(told_.front().find("another store"), std::string::npos);
}

TEST_F(NewestSeenFile, WhereNothingCanBeWrittenTheProcessRemembersAlone) {
  std::ofstream(dir_.file("file")) << "x";
  std::filesystem::create_directory(dir_.file("directory"));
  std::filesystem::create_symlink(dir_.file("file"), dir_.file("symlink"));
  ASSERT_EQ(::mkfifo(dir_.file("fifo").c_str(), 0600), 0);
  for (const char* const place : {"file/below/seen", "directory", "symlink", "fifo"}) {
    told_.clear();
    NewestSeen seen = at(dir_.file(place));
    seen.raise(state(4));
    seen.raise(state(5));
    EXPECT_EQ(seen.newest(), state(5)) << place;
    EXPECT_EQ(told_.size(), 1U) << place;
  }
  EXPECT_EQ(file_bytes(dir_.file("file")).size(), 1U) << "written through a symlink";
}

TEST_F(NewestSeenFile, AStoppedProcessOnTheLockStopsNobody) {
  at(path_).raise(state(1));
  const UniqueFd held(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
  EXPECT_EQ(remembered(), state(1));
  at(path_).raise(state(2));
  EXPECT_EQ(remembered(), state(1));
  ASSERT_EQ(told_.size(), 1U);
}

TEST_F(NewestSeenFile, ManyProcessesAndThreadsLeaveTheHighest) {
  constexpr std::uint64_t kStates = 2000;
  const auto raise_all = [&](std::uint64_t first) {
    NewestSeen seen = at(path_);
    std::uint64_t last = 0;
    for (std::uint64_t i = first; i <= kStates; i += 3) {
      seen.raise(state(i, static_cast<std::uint8_t>(i)));
      const auto newest = seen.newest();
      if (!newest.has_value() || newest->generation < std::max(i, last)) return false;
      if (newest->mark != state(0, static_cast<std::uint8_t>(newest->generation)).mark)
        return false;
      last = newest->generation;
    }
    return told_.empty();
  };
  ChildProcess first([&] { return raise_all(1); });
  ChildProcess second([&] { return raise_all(2); });
  first.start();
  second.start();
  EXPECT_TRUE(raise_all(3));
  EXPECT_TRUE(first.succeeded());
  EXPECT_TRUE(second.succeeded());
  EXPECT_EQ(remembered(), state(kStates, static_cast<std::uint8_t>(kStates)));
}

}  // namespace
}  // namespace coffer
