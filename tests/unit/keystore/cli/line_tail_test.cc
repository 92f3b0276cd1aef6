#include "keystore/cli/line_tail.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using Lines = std::vector<std::string>;

class LineTailTest : public ::testing::Test {
 protected:
  void append(const std::string& text) const { std::ofstream(path_, std::ios::app) << text; }
  LineTail open(LineTail::From from) const {
    auto tail = LineTail::open(path_, from);
    EXPECT_TRUE(tail.ok());
    return std::move(*tail);
  }
  static Lines read(LineTail& tail) {
    Lines lines;
    EXPECT_TRUE(tail.read([&](std::string_view line) { lines.emplace_back(line); }).ok());
    return lines;
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.file("log");
};

TEST_F(LineTailTest, GivesEachLineOnceItIsEnded) {
  append("one\ntw");
  LineTail tail = open(LineTail::From::kStart);
  EXPECT_EQ(read(tail), Lines{"one"});
  EXPECT_EQ(read(tail), Lines{});
  append("o\n\nthree\n");
  EXPECT_EQ(read(tail), (Lines{"two", "", "three"}));
  const std::string large(200'000, 'x');
  append(large + "\nafter\n");
  EXPECT_EQ(read(tail), (Lines{large, "after"}));
}

TEST_F(LineTailTest, FromTheEndKnowsNothingOfBefore) {
  append("one\ntorn");
  LineTail tail = open(LineTail::From::kEnd);
  append(" line\ntwo\n");
  EXPECT_EQ(read(tail), (Lines{" line", "two"}));
}

TEST_F(LineTailTest, GoesOverToTheFileThatTakesItsPlace) {
  append("one\n");
  LineTail tail = open(LineTail::From::kStart);
  EXPECT_EQ(read(tail), Lines{"one"});
  append("two\nunended");
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  EXPECT_EQ(read(tail), Lines{"two"}) << "and none has taken its place yet";
  append("three\n");
  EXPECT_EQ(read(tail), Lines{"three"});
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  append("4\n");
  EXPECT_EQ(read(tail), Lines{"4"});
}

TEST_F(LineTailTest, KeepsNoLineWithoutAnEnd) {
  append(std::string(6U << 20U, 'x'));
  LineTail tail = open(LineTail::From::kStart);
  EXPECT_EQ(read(tail), Lines{});
  append("\nafter\n");
  const Lines lines = read(tail);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_LT(lines[0].size(), 5U << 20U);
  EXPECT_EQ(lines[1], "after");
}

TEST_F(LineTailTest, NeedsARegularFile) {
  EXPECT_EQ(LineTail::open(dir_.file("missing"), LineTail::From::kEnd).error().code,
            Code::kNotFound);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(LineTail::open(path_, LineTail::From::kStart).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace coffer
