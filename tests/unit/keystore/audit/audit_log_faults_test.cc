// A line that can't be written whole must not spoil the next one.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "keystore/audit/audit_log.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_audit_lines.h"
#include "tests/support/keystore_process.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using nlohmann::json;
using testing::audit_lines;
using testing::ChildProcess;
using testing::Mount;
using testing::TempDir;
using testing::text_lines;

class AuditLogFaults : public ::testing::Test {
 protected:
  std::unique_ptr<AuditLog> open() {
    auto log = AuditLog::open(path_, StoreId{}, clock_, testing::audit_keys());
    EXPECT_TRUE(log.ok()) << log.error().message();
    return log.ok() ? std::move(*log) : nullptr;
  }

  static Result<void> append(AuditLog& log, std::size_t length, int number = 0) {
    const std::string path(length, 'p');
    AuditEvent event;
    event.event = "release";
    event.path = path;
    event.grant = GrantId{number};
    return log.append(event);
  }

  void tear(std::string_view bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::app) << bytes;
  }

  TempDir dir_;
  std::string path_ = dir_.file("disk/log");
  Clock clock_;
};

TEST_F(AuditLogFaults, AFullDiskTakesWholeLinesOnly) {
  std::filesystem::create_directory(dir_.file("disk"));
  const auto disk = Mount::tmpfs(dir_.file("disk"), 64 * 1024);
  if (disk == nullptr) COFFER_SKIP("this process may not mount a tmpfs");
  const std::string filler = dir_.file("disk/filler");
  std::ofstream(filler) << std::string(16 * 1024, 'f');

  const auto one = open();
  const auto other = open();
  std::vector<int> accepted;
  int refused = 0;
  const auto write_until_full = [&](std::size_t length) {
    for (int in_a_row = 0; in_a_row < 4;) {
      AuditLog& log = refused % 2 == 0 ? *one : *other;
      const int number = static_cast<int>(accepted.size()) + refused;
      const auto written = append(log, length, number);
      if (written) {
        accepted.push_back(number);
        in_a_row = 0;
      } else {
        EXPECT_EQ(written.error().code, Code::kNoSpace);
        EXPECT_EQ(written.error().errno_value, ENOSPC);
        ++refused;
        ++in_a_row;
      }
    }
  };
  write_until_full(3000);  // crosses a page, so that a part of it fits
  write_until_full(100);
  ASSERT_GT(accepted.size(), 10U);
  ASSERT_GE(refused, 8);
  std::filesystem::remove(filler);
  ASSERT_TRUE(append(*one, 3000, -1).ok());
  ASSERT_TRUE(append(*other, 10, -2).ok());

  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), accepted.size() + 2);
  for (std::size_t i = 0; i < accepted.size(); ++i) EXPECT_EQ(lines[i].at("grant"), accepted[i]);
  EXPECT_EQ(lines[accepted.size()].at("grant"), -1);
  EXPECT_EQ(lines[accepted.size() + 1].at("grant"), -2);
  EXPECT_EQ(one->lines() + other->lines(), lines.size());
}

TEST_F(AuditLogFaults, AQuotaThatEndsWithinALineLeavesNothingOfIt) {
  // RLIMIT_FSIZE lets the first bytes of a line through and refuses the rest; the limit is the
  // child's alone.
  const auto log = open();
  ASSERT_TRUE(append(*log, 10, 1).ok());
  const auto size = std::filesystem::file_size(path_);
  ChildProcess limited([&]() -> bool {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{size + 100, size + 100};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    const auto mine = open();
    for (int i = 0; i < 3; ++i) {
      const auto written = append(*mine, 500, 2);
      if (written.ok() || written.error().errno_value != EFBIG) return false;
      if (std::filesystem::file_size(path_) != size) return false;
    }
    return mine->lines() == 0;
  });
  limited.start();
  EXPECT_TRUE(limited.succeeded());
  ASSERT_TRUE(append(*log, 10, 3).ok());
  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[1].at("grant"), 3);
}

TEST_F(AuditLogFaults, ALineTornByACrashIsEndedByTheNext) {
  const auto before = open();
  ASSERT_TRUE(append(*before, 10, 1).ok());
  tear(R"({"time":"2024-01-01T00:00:00.000000Z","sto)");
  // By who had the log open, and by who opens it after.
  ASSERT_TRUE(append(*before, 10, 2).ok());
  tear("torn again");
  const auto after = open();
  ASSERT_TRUE(append(*after, 10, 3).ok());
  ASSERT_TRUE(append(*before, 10, 4).ok());
  ASSERT_TRUE(append(*after, 10, 5).ok());

  const std::vector<std::string> lines = text_lines(path_);
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[1], R"({"time":"2024-01-01T00:00:00.000000Z","sto)");
  EXPECT_EQ(lines[3], "torn again");
  int number = 0;
  for (const std::size_t i : {0U, 2U, 4U, 5U, 6U}) {
    EXPECT_EQ(json::parse(lines[i]).at("grant"), ++number);
  }
}

TEST_F(AuditLogFaults, ALineThatDoesNotFitIsTakenBackAfterATornOneToo) {
  const auto log = open();
  ASSERT_TRUE(append(*log, 10, 1).ok());
  tear("torn");
  const auto size = std::filesystem::file_size(path_);
  ChildProcess limited([&]() -> bool {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto mine = open();  // a child has no keys of its parent
    const rlimit limit{size + 50, size + 50};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    return !append(*mine, 500, 2).ok() && !append(*mine, 500, 3).ok();
  });
  limited.start();
  EXPECT_TRUE(limited.succeeded());
  ASSERT_TRUE(append(*log, 10, 4).ok());
  const std::vector<std::string> lines = text_lines(path_);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1], "torn");
  EXPECT_EQ(json::parse(lines[2]).at("grant"), 4);
}

TEST_F(AuditLogFaults, ALogCutShortBeginsAnew) {
  const auto log = open();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log, 100, i).ok());
  std::filesystem::resize_file(path_, 0);
  ASSERT_TRUE(append(*log, 10, 7).ok());
  std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("log").at("after").at("lines"), 5);
  EXPECT_EQ(lines[0].at("log").at("after").at("why"), "the file was cut short");
  const std::string cut = lines[0].at("log").at("id");

  std::filesystem::resize_file(path_, 20);  // within a line
  ASSERT_TRUE(append(*log, 10, 8).ok());
  ASSERT_TRUE(append(*log, 10, 9).ok());
  lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].at("log").at("after").at("id"), cut);
  EXPECT_NE(lines[0].at("log").at("id"), cut);
  EXPECT_EQ(lines[1].at("grant"), 9);
  // What was left of the one before lies beside it.
  EXPECT_EQ(text_lines(path_ + "." + cut.substr(0, 8) + ".000000000000")[0].size(), 20U);
}

TEST_F(AuditLogFaults, AKilledProcessLosesNoLineThatItActedOn) {
  const std::string acted = dir_.file("acted");
  {
    ChildProcess child([&]() -> bool {
      const auto log = open();
      const UniqueFd fd(::open(acted.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
      for (int i = 0;; ++i) {
        if (!append(*log, 5000, i).ok()) return false;
        if (::write(fd.get(), "x", 1) != 1) return false;
      }
    });
    child.start();
    EXPECT_TRUE(testing::eventually(
        [&] { return std::filesystem::exists(acted) && std::filesystem::file_size(acted) > 50; }));
  }
  const auto log = open();
  ASSERT_TRUE(append(*log, 10, -1).ok());
  // At most one line more than was acted on, whole or torn; none less.
  const std::vector<std::string> lines = text_lines(path_);
  const auto acts = std::filesystem::file_size(acted);
  ASSERT_GE(lines.size(), acts + 1);
  ASSERT_LE(lines.size(), acts + 2);
  for (std::size_t i = 0; i < acts; ++i) EXPECT_EQ(json::parse(lines[i]).at("grant"), i);
  EXPECT_EQ(json::parse(lines.back()).at("grant"), -1);
}

}  // namespace
}  // namespace coffer
