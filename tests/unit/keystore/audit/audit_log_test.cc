#include "keystore/audit/audit_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

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
using testing::eventually;
using testing::TempDir;
using testing::text_lines;

AuditEvent admin(std::string_view path) {
  AuditEvent event;
  event.event = "admin";
  event.path = path;
  return event;
}

class AuditLogTest : public ::testing::Test {
 protected:
  std::unique_ptr<AuditLog> open(std::chrono::milliseconds wait = std::chrono::seconds(60)) {
    auto log = AuditLog::open(path_, store_, clock_, testing::audit_keys(), {.lock_wait = wait});
    EXPECT_TRUE(log.ok()) << log.error().message();
    return log.ok() ? std::move(*log) : nullptr;
  }

  TempDir dir_;
  std::string path_ = dir_.file("audit/log");
  StoreId store_;
  Clock clock_;
};

TEST_F(AuditLogTest, ALineSaysAllThatIsKnown) {
  store_.bytes.fill(0xab);
  AuditEvent event;
  event.event = "release";
  event.scope = "/models";
  FileId file;
  file.bytes.fill(0x17);
  event.file = file;
  event.path = "/models/llama/weights.bin";
  event.uid = 1000;
  event.gid = 0;
  event.pid = 4711;
  event.selectors = {"unix:gid:0", "unix:uid:1000"};
  event.right = "read,write";
  event.decision = "allow";
  event.reason = "granted";
  event.grant = GrantId{12};
  event.key_version = KeyVersion{3};
  event.bytes_read = 5'000'000'000;
  event.bytes_written = 0;
  event.detail = "more";
  const auto before = clock_.now();
  const auto log = open();
  ASSERT_TRUE(log->append(event).ok());
  EXPECT_EQ(log->lines(), 1U);
  EXPECT_EQ(log->path(), path_);

  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 1U);
  json expected = {
      {"store", store_.hex()},
      {"event", "release"},
      {"decision", "allow"},
      {"right", "read,write"},
      {"scope", "/models"},
      {"path", "/models/llama/weights.bin"},
      {"file", "17171717171717171717171717171717"},
      {"identity",
       {{"uid", 1000}, {"gid", 0}, {"pid", 4711}, {"selectors", {"unix:gid:0", "unix:uid:1000"}}}},
      {"grant", 12},
      {"key_version", 3},
      {"bytes_read", 5'000'000'000},
      {"bytes_written", 0},
      {"reason", "granted"},
      {"detail", "more"},
      {"n", 0},
      {"mac", lines[0].at("mac")},
      {"log", lines[0].at("log")}};
  const std::string time = lines[0].at("time");
  EXPECT_THAT(time, ::testing::MatchesRegex(
                        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z"));
  EXPECT_GE(time, format_time_us(before));
  EXPECT_LE(time, format_time_us(clock_.now()));
  expected["time"] = time;
  EXPECT_EQ(lines[0], expected);

  // Every line begins alike, for people and for grep.
  EXPECT_EQ(text_lines(path_)[0].find("{\"time\":\"" + time + "\",\"store\":\"" + store_.hex() +
                                      "\",\"event\":\"release\""),
            0U);
}

TEST_F(AuditLogTest, WhatIsEmptyIsLeftOut) {
  const auto log = open();
  AuditEvent event;
  event.event = "admin";
  ASSERT_TRUE(log->append(event).ok());
  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].size(), 6U);
  for (const char* key : {"time", "store", "event", "log", "n", "mac"})
    EXPECT_TRUE(lines[0].contains(key)) << key;
}

TEST_F(AuditLogTest, NoNameBreaksALine) {
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes.push_back(static_cast<char>(byte));
  std::string longest;  // a path as long as the system takes them
  while (longest.size() < 4096) longest += all_bytes;
  longest.resize(4096);
  const std::vector<std::pair<std::string, bool>> names = {
      {"/plain", true},
      {"/new\nline", true},
      {"/\r\n\n\n{\"event\":\"release\"}", true},
      {"/quote\"and\\back\\\\slash\"", true},
      {"\"},{\"a\":\"", true},
      {std::string("/nul\0byte", 9), true},
      {"/tab\tbell\aescape\x1b[2Jdelete\x7f", true},
      {"/euro\xe2\x82\xac line separator\xe2\x80\xa8 four bytes\xf0\x9f\x94\x91", true},
      {std::string(4096, '\n'), true},
      {std::string(4096, '"'), true},
      {std::string(4096, 'x'), true},
      {"/latin1 \xe9t\xe9", false},
      {"/lone continuation \x80", false},
      {"/overlong \xc0\xaf", false},
      {"/surrogate \xed\xa0\x80", false},
      {"/beyond unicode \xf4\x90\x80\x80", false},
      {"/cut short \xe2\x82", false},
      {all_bytes, false},
      {longest, false},
  };
  const auto log = open();
  for (const auto& [name, utf8] : names) {
    AuditEvent event;
    event.event = "refuse";
    event.path = name;
    event.scope = name;
    event.reason = name;
    event.detail = name;
    event.selectors = {name};
    ASSERT_TRUE(log->append(event).ok());
  }
  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), names.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto& [name, utf8] = names[i];
    EXPECT_EQ(lines[i].at("event"), "refuse");
    for (const json& shown :
         {lines[i].at("path"), lines[i].at("scope"), lines[i].at("reason"), lines[i].at("detail"),
          lines[i].at("identity").at("selectors").at(0)}) {
      if (utf8) {
        EXPECT_EQ(shown.get<std::string>(), name) << i;
      } else {
        EXPECT_THAT(shown.get<std::string>(), ::testing::HasSubstr("\xef\xbf\xbd")) << i;
      }
    }
  }
}

TEST_F(AuditLogTest, TheFileIsPrivateAndGrows) {
  {
    const testing::Umask open_to_all(0);
    const auto log = open();
    ASSERT_TRUE(log->append(admin("first")).ok());
  }
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  ASSERT_EQ(::stat(dir_.file("audit").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);

  const auto again = open();
  ASSERT_TRUE(again->append(admin("second")).ok());
  EXPECT_EQ(again->lines(), 1U);
  const std::vector<json> lines = audit_lines(path_);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].at("path"), "first");
  EXPECT_EQ(lines[1].at("path"), "second");
}

TEST_F(AuditLogTest, OnlyAFileIsALog) {
  const auto refused = [&](const std::string& path) {
    const auto log = AuditLog::open(path, store_, clock_, testing::audit_keys());
    EXPECT_FALSE(log.ok()) << path;
    return log.ok() ? Code::kIo : log.error().code;
  };
  ASSERT_EQ(::mkfifo(dir_.file("fifo").c_str(), 0600), 0);
  EXPECT_EQ(refused(dir_.file("fifo")), Code::kInvalid);
  EXPECT_EQ(refused(dir_.path()), Code::kInvalid);
  EXPECT_EQ(refused("/dev/null"), Code::kInvalid);
  ASSERT_EQ(::symlink("elsewhere", dir_.file("link").c_str()), 0);
  EXPECT_EQ(refused(dir_.file("link")), Code::kInvalid);
  EXPECT_NE(::access(dir_.file("elsewhere").c_str(), F_OK), 0);
  std::ofstream(dir_.file("file")) << "";
  EXPECT_EQ(refused(dir_.file("file/log")), Code::kInvalid);
}

/// Lines of this writer, in order, of very different lengths.
bool write_lines(AuditLog& log, int writer, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string path = "/" + std::string(static_cast<std::size_t>((i * 997) % 9000), 'p');
    AuditEvent event;
    event.event = "release";
    event.path = path;
    event.pid = writer;
    event.grant = GrantId{i};
    if (!log.append(event).ok()) return false;
  }
  return true;
}

TEST_F(AuditLogTest, LinesOfThreadsAndProcessesStandWholeAndInOrder) {
  constexpr int kLines = 150;
  constexpr int kChildren = 2;
  constexpr int kThreads = 4;
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int child = 0; child < kChildren; ++child) {
    children.push_back(std::make_unique<ChildProcess>([this, child]() -> bool {
      const auto log = open();
      return log != nullptr && write_lines(*log, child, kLines);
    }));
  }
  for (const auto& child : children) child->start();
  {
    // Two threads share a log, two have one each.
    const std::unique_ptr<AuditLog> logs[] = {open(), open(), open()};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        EXPECT_TRUE(write_lines(*logs[t / 2 == 0 ? 0 : t - 1], kChildren + t, kLines));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(logs[0]->lines(), 2U * kLines);
  }
  for (const auto& child : children) EXPECT_TRUE(child->succeeded());

  std::map<int, int> next;
  std::string last;
  for (const json& line : audit_lines(path_)) {
    const std::string time = line.at("time");
    EXPECT_LE(last, time) << "the lines of all writers stand in the order of their times";
    last = time;
    const int writer = line.at("identity").at("pid");
    const int number = line.at("grant");
    EXPECT_EQ(number, next[writer]++) << "writer " << writer;
    EXPECT_EQ(line.at("path").get<std::string>().size(),
              static_cast<std::size_t>((number * 997) % 9000) + 1);
  }
  ASSERT_EQ(next.size(), static_cast<std::size_t>(kChildren + kThreads));
  for (const auto& [writer, count] : next) EXPECT_EQ(count, kLines) << writer;
}

TEST_F(AuditLogTest, WaitsForWhoWritesNow) {
  const auto log = open();
  const UniqueFd other(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  std::atomic<bool> done{false};
  std::thread writing([&] {
    EXPECT_TRUE(log->append(admin("")).ok());
    done = true;
  });
  // Nothing is written as long as the lock is held; whether the thread has come so far is its own
  // affair.
  EXPECT_TRUE(text_lines(path_).empty());
  EXPECT_FALSE(done);
  ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
  EXPECT_TRUE(eventually([&] { return done.load(); }));
  writing.join();
  EXPECT_EQ(audit_lines(path_).size(), 1U);
}

TEST_F(AuditLogTest, DoesNotWaitForEver) {
  const auto log = open(std::chrono::milliseconds(20));
  const UniqueFd other(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  const auto refused = log->append(admin(""));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_THAT(refused.error().message(), ::testing::HasSubstr(path_));
  EXPECT_EQ(log->lines(), 0U);
  ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
  EXPECT_TRUE(log->append(admin("")).ok());
  EXPECT_EQ(audit_lines(path_).size(), 1U);
}

}  // namespace
}  // namespace coffer
