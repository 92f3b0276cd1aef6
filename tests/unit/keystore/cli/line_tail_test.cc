#include "keystore/cli/line_tail.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "keystore/audit/audit_log.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using Lines = std::vector<std::string>;

class LineTailTest : public ::testing::Test {
 protected:
  void append(const std::string& text) const { std::ofstream(path_, std::ios::app) << text; }
  void set_aside(const std::string& as) const {
    ASSERT_EQ(::rename(path_.c_str(), (path_ + as).c_str()), 0);
  }
  LineTail from_oldest(std::string_view since = {}) const {
    auto tail = LineTail::from_oldest(path_, since);
    EXPECT_TRUE(tail.ok());
    return std::move(*tail);
  }
  LineTail from_end() const {
    auto tail = LineTail::from_end(path_);
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
  LineTail tail = from_oldest();
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
  LineTail tail = from_end();
  append(" line\ntwo\n");
  EXPECT_EQ(read(tail), (Lines{" line", "two"}));
}

TEST_F(LineTailTest, GoesOverToTheFileThatTakesItsPlace) {
  append("one\n");
  LineTail tail = from_oldest();
  EXPECT_EQ(read(tail), Lines{"one"});
  append("two\nunended");
  set_aside(".1");
  EXPECT_EQ(read(tail), Lines{"two"}) << "and none has taken its place yet";
  append("three\n");
  EXPECT_EQ(read(tail), Lines{"three"});
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  append("4\n");
  EXPECT_EQ(read(tail), Lines{"4"});
}

TEST_F(LineTailTest, MissesNoFileThatCameAndWent) {
  append("one\n");
  LineTail tail = from_end();
  append("two\n");
  set_aside(".1");
  append("three\n");
  set_aside(".2");
  append("four\n");
  set_aside(".3");
  append("");
  EXPECT_EQ(read(tail), (Lines{"two"})) << "the file that was begun has no line yet";
  append("five\n");
  EXPECT_EQ(read(tail), (Lines{"three", "four", "five"}));
  set_aside(".4");
  append("six\n");
  EXPECT_EQ(read(tail), Lines{"six"});
}

/// It is known no more by its inode then, but by the time of its first line.
TEST_F(LineTailTest, GoesOnWhereAFileWasRemoved) {
  append(R"({"time":"2026-01-01T00:00:00.000001Z"})"
         "\n");
  set_aside(".1");
  append(R"({"time":"2026-01-02T00:00:00.000001Z"})"
         "\n");
  LineTail tail = from_end();
  set_aside(".2");
  const std::string third = R"({"time":"2026-01-03T00:00:00.000001Z"})";
  append(third + "\n");
  set_aside(".3");
  ASSERT_EQ(::unlink((path_ + ".2").c_str()), 0);
  append("last\n");
  EXPECT_EQ(read(tail), (Lines{third, "last"}));
}

TEST_F(LineTailTest, FromTheOldestFileThatMayHaveLinesOfThatTime) {
  for (int day = 1; day <= 3; ++day) {
    if (day > 1) set_aside("." + std::to_string(9 - day));  // the names say nothing of their order
    append(R"({"time":"2026-01-0)" + std::to_string(day) +
           R"(T00:00:00.000000Z"})"
           "\n");
    append("day " + std::to_string(day) + "\n");
  }
  const auto days_from = [&](std::string_view since) {
    LineTail tail = from_oldest(since);
    std::string days;
    for (const std::string& line : read(tail)) {
      if (line.starts_with("day ")) days += line.substr(4);
    }
    return days;
  };
  EXPECT_EQ(days_from(""), "123");
  EXPECT_EQ(days_from("2025-01-01T00:00:00Z"), "123");
  EXPECT_EQ(days_from("2026-01-02T00:00:00Z"), "123");
  EXPECT_EQ(days_from("2026-01-02T00:00:01Z"), "23");
  EXPECT_EQ(days_from("2027-01-01T00:00:00Z"), "3");
  set_aside(".x");
  EXPECT_EQ(days_from("2026-01-02T12:00:00Z"), "23") << "nobody has begun another";
  append("");
  EXPECT_EQ(days_from("2027-01-01T00:00:00Z"), "3") << "nor written to it";
}

/// A writer that begins a new file again and again, and a reader that looks when it likes.
TEST_F(LineTailTest, MissesNoLineWhileFilesAreExchanged) {
  constexpr std::uint64_t kLines = 4200;
  StoreId store;
  const Clock clock;
  const auto write_all = [&] {
    auto log = AuditLog::open(path_, store, clock, testing::audit_keys(),
                              {.lock_wait = std::chrono::seconds(30), .rotate_at = 4000});
    ASSERT_TRUE(log.ok());
    for (std::uint64_t i = 0; i < kLines; ++i) {
      AuditEvent event;
      event.event = "admin";
      const auto written = (*log)->append(event);
      ASSERT_TRUE(written.ok()) << written.error().message();
    }
  };
  append("");
  LineTail tail = from_oldest();
  std::thread writer(write_all);
  std::vector<std::uint64_t> numbers;
  const auto take = [&](std::string_view line) {
    const auto end = parse_line_end(as_bytes(line));
    ASSERT_TRUE(end.has_value());
    numbers.push_back(end->n);
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (numbers.size() < kLines && std::chrono::steady_clock::now() < deadline) {
    EXPECT_TRUE(tail.read(take).ok());
  }
  writer.join();
  std::vector<std::uint64_t> all(kLines);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(numbers, all);
}

TEST_F(LineTailTest, KeepsNoLineWithoutAnEnd) {
  append(std::string(6U << 20U, 'x'));
  LineTail tail = from_oldest();
  EXPECT_EQ(read(tail), Lines{});
  append("\nafter\n");
  const Lines lines = read(tail);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_LT(lines[0].size(), 5U << 20U);
  EXPECT_EQ(lines[1], "after");
}

TEST_F(LineTailTest, NeedsARegularFile) {
  EXPECT_EQ(LineTail::from_end(dir_.file("missing")).error().code, Code::kNotFound);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(LineTail::from_oldest(path_).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace coffer
