// Files of a log that come and go, and what is proven of them afterwards.

#include "keystore/audit/log_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "keystore/audit/audit_log.h"
#include "keystore/audit/log_verifier.h"
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
using testing::TempDir;
using testing::text_lines;

class LogWriterTest : public ::testing::Test {
 protected:
  std::unique_ptr<AuditLog> open(std::uint64_t rotate_at = std::uint64_t{64} << 20U) {
    auto log = AuditLog::open(path_, StoreId{}, clock_, testing::audit_keys(),
                              {.lock_wait = std::chrono::seconds(60), .rotate_at = rotate_at});
    EXPECT_TRUE(log.ok()) << log.error().message();
    return log.ok() ? std::move(*log) : nullptr;
  }

  static Result<void> append(AuditLog& log, std::int64_t number, std::size_t length = 100) {
    const std::string path(length, 'p');
    AuditEvent event;
    event.event = "release";
    event.path = path;
    event.grant = GrantId{number};
    return log.append(event);
  }
  static void append_some(AuditLog& log, int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(append(log, i).ok());
  }

  LogVerdict verify(const VerifyOptions& options = {},
                    const std::vector<KnownCheckpoint>& known = {}) {
    auto verdict = verify_logs(path_, StoreId{}, testing::audit_keys(), known, options);
    EXPECT_TRUE(verdict.ok()) << verdict.error().message();
    return verdict.ok() ? std::move(*verdict) : LogVerdict();
  }
  /// All findings in words; empty if there are none.
  std::string findings(const VerifyOptions& options = {},
                       const std::vector<KnownCheckpoint>& known = {}) {
    std::string text;
    for (const LogFinding& finding : verify(options, known).findings) {
      text += std::to_string(finding.line) + ": " + finding.what + "\n";
    }
    return text;
  }
  std::vector<std::string> files() {
    std::vector<std::string> names;
    const auto found = find_log_files(path_);
    EXPECT_TRUE(found.ok());
    for (const LogFile& file : *found) names.push_back(file.path);
    return names;
  }
  /// Numbers of the lines of all files, in their order.
  std::vector<std::int64_t> numbers() {
    std::vector<std::int64_t> all;
    for (const std::string& name : files()) {
      for (const json& line : audit_lines(name)) all.push_back(line.value("grant", -1));
    }
    return all;
  }

  TempDir dir_;
  std::string path_ = dir_.file("audit/log");
  Clock clock_;
};

TEST_F(LogWriterTest, ACheckpointIsOfAllLines) {
  const auto log = open();
  EXPECT_FALSE(log->checkpoint().value().has_value()) << "nothing was written yet";
  MerkleTree tree;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(append(*log, i).ok());
    tree.append(leaf_hash(as_bytes(text_lines(path_).back())));
    const auto signed_now = log->checkpoint();
    ASSERT_TRUE(signed_now.ok()) << signed_now.error().message();
    ASSERT_TRUE(signed_now->has_value());
    EXPECT_EQ((*signed_now)->size, static_cast<std::uint64_t>(i + 1));
    const auto opened =
        open_checkpoint((*signed_now)->note, Ed25519Key(testing::audit_keys().seed).public_key());
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened->size, tree.size());
    EXPECT_EQ(opened->root, tree.root());
    EXPECT_EQ(opened->origin, "coffer/" + StoreId{}.hex() + "/" + (*signed_now)->log.hex());
  }
  EXPECT_EQ(findings(), "");
  const LogVerdict verdict = verify();
  ASSERT_EQ(verdict.logs.size(), 1U);
  EXPECT_EQ(verdict.logs[0].lines, 20U);
  EXPECT_EQ(verdict.logs[0].proven, 1U);
  EXPECT_EQ(verdict.logs[0].signed_lines, 20U);
}

TEST_F(LogWriterTest, RotationKeepsTheChain) {
  {
    const auto log = open(4096);
    append_some(*log, 100);
    ASSERT_TRUE(log->checkpoint().ok());
  }
  {
    const auto log = open(4096);
    append_some(*log, 100);
    ASSERT_TRUE(log->checkpoint().ok());
  }
  EXPECT_GT(files().size(), 5U);
  EXPECT_EQ(numbers().size(), 200U);
  EXPECT_EQ(findings(), "");
  const LogVerdict verdict = verify();
  ASSERT_EQ(verdict.logs.size(), 1U) << "one log, whatever its files";
  EXPECT_EQ(verdict.logs[0].lines, 200U);
  EXPECT_EQ(verdict.logs[0].files, files().size());
}

TEST_F(LogWriterTest, ProcessesRotateTogether) {
  constexpr int kLines = 400;
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int child = 0; child < 3; ++child) {
    children.push_back(std::make_unique<ChildProcess>([this, child]() -> bool {
      const auto log = open(8192);
      for (int i = 0; i < kLines; ++i) {
        if (!append(*log, child * kLines + i).ok()) return false;
        if (i % 50 == 0 && !log->checkpoint().ok()) return false;
      }
      return log->checkpoint().ok();
    }));
  }
  for (const auto& child : children) child->start();
  {
    const auto log = open(8192);
    std::thread beat([&] {
      for (int i = 0; i < 50; ++i) EXPECT_TRUE(log->checkpoint().ok());
    });
    for (int i = 0; i < kLines; ++i) ASSERT_TRUE(append(*log, 3 * kLines + i).ok());
    beat.join();
  }
  for (const auto& child : children) EXPECT_TRUE(child->succeeded());
  EXPECT_EQ(findings(), "");
  const LogVerdict verdict = verify();
  ASSERT_EQ(verdict.logs.size(), 1U);
  EXPECT_EQ(verdict.logs[0].lines, 4U * kLines);
  std::vector<std::int64_t> all = numbers();
  std::map<std::int64_t, std::int64_t> next;
  for (const std::int64_t number : all) {
    EXPECT_EQ(number % kLines, next[number / kLines]++) << "a writer's lines are in its order";
  }
}

TEST_F(LogWriterTest, RenamedByOthersTheChainGoesOn) {
  const auto log = open();
  const auto other = open();
  append_some(*log, 10);
  append_some(*other, 10);
  std::filesystem::rename(path_, path_ + ".1");
  append_some(*other, 10);
  append_some(*log, 10);
  std::filesystem::rename(path_ + ".1", path_ + ".2");
  std::filesystem::rename(path_, path_ + ".1");
  append_some(*open(), 5);  // by who never saw them
  append_some(*log, 5);
  ASSERT_TRUE(log->checkpoint().ok());
  EXPECT_EQ(findings(), "");
  ASSERT_EQ(verify().logs.size(), 1U);
  EXPECT_EQ(verify().logs[0].lines, 50U);
  EXPECT_EQ(verify().logs[0].files, 3U);
}

TEST_F(LogWriterTest, FilesRemovedFromTheFrontAreMissed) {
  const auto log = open(4096);
  append_some(*log, 100);
  ASSERT_TRUE(log->checkpoint().ok());
  const std::vector<std::string> all = files();
  ASSERT_GT(all.size(), 3U);
  std::filesystem::remove(all[0]);
  std::filesystem::remove(all[1]);
  const LogVerdict missed = verify();
  ASSERT_EQ(missed.findings.size(), 1U);
  EXPECT_EQ(missed.findings[0].line, 0U);
  EXPECT_THAT(missed.findings[0].what, ::testing::HasSubstr("are not here"));
  const LogVerdict allowed = verify({.allow_removed = true});
  EXPECT_TRUE(allowed.findings.empty());
  ASSERT_EQ(allowed.logs.size(), 1U);
  EXPECT_GT(allowed.logs[0].first, 0U);
  EXPECT_EQ(allowed.logs[0].proven, 1U) << "what is left is proven by the newest checkpoint";

  std::filesystem::remove(all[3]);  // and one from the midst
  EXPECT_FALSE(verify({.allow_removed = true}).findings.empty());
}

TEST_F(LogWriterTest, ALogThatIsTakenAwayIsReplacedByOneThatSaysSo) {
  const auto log = open();
  append_some(*log, 10);
  const auto before = log->checkpoint().value();
  append_some(*log, 5);
  std::filesystem::remove(path_);
  append_some(*log, 3);
  const json head = audit_lines(path_)[0].at("log");
  EXPECT_EQ(head.at("after").at("id"), before->log.hex());
  EXPECT_EQ(head.at("after").at("lines"), 15);
  EXPECT_EQ(head.at("after").at("why"), "the file is gone");
  // The side file still knows of it, and what was kept elsewhere does.
  const LogVerdict verdict = verify({}, {{.source = "kept", .note = before->note}});
  ASSERT_FALSE(verdict.findings.empty());
  EXPECT_EQ(verdict.findings[0].code, Code::kRolledBack);
  EXPECT_EQ(verdict.findings[0].log, before->log);
}

TEST_F(LogWriterTest, LinesCutOffWhileNobodyLooksAreMissed) {
  std::optional<SignedCheckpoint> kept;
  {
    const auto log = open();
    append_some(*log, 10);
    kept = log->checkpoint().value();
  }
  std::vector<std::string> lines = text_lines(path_);
  std::ofstream(path_, std::ios::trunc | std::ios::binary) << lines[0] << '\n' << lines[1] << '\n';
  LogVerdict verdict = verify();
  ASSERT_EQ(verdict.findings.size(), 1U);
  EXPECT_EQ(verdict.findings[0].code, Code::kRolledBack);
  EXPECT_EQ(verdict.findings[0].line, 2U);
  // Without the side file only what is kept elsewhere can tell.
  std::filesystem::rename(side_file_path(path_), dir_.file("side"));
  EXPECT_EQ(findings(), "");
  EXPECT_THAT(findings({}, {{.source = "kept", .note = kept->note}}), ::testing::HasSubstr("2: "));
  std::filesystem::rename(dir_.file("side"), side_file_path(path_));
  // Nobody signs the shorter log as if it were whole.
  EXPECT_EQ(open()->checkpoint().error().code, Code::kRolledBack);
  append_some(*open(), 1);
  EXPECT_EQ(audit_lines(path_)[0].at("log").at("after").at("lines"), 10);
  verdict = verify();
  ASSERT_EQ(verdict.findings.size(), 1U) << "and it stays a finding";
  EXPECT_EQ(verdict.findings[0].log, kept->log);
}

TEST_F(LogWriterTest, AnAlteredLineIsFoundWhileTheLogIsWritten) {
  const auto log = open();
  append_some(*log, 10);
  ASSERT_TRUE(log->checkpoint().ok());
  append_some(*log, 10);
  {
    const UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    const std::string second_half = text_lines(path_)[14];
    const std::string text = [&] {
      std::ifstream file(path_, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(file), {});
    }();
    const std::size_t at = text.find(second_half) + second_half.find("ppp");
    ASSERT_EQ(::pwrite(fd.get(), "q", 1, static_cast<off_t>(at)), 1);
  }
  const auto refused = log->checkpoint();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("line 14 "));
  append_some(*log, 5);
  ASSERT_TRUE(log->checkpoint().ok());
  const LogVerdict verdict = verify();
  ASSERT_EQ(verdict.logs.size(), 2U) << "what comes later is protected all the same";
  ASSERT_EQ(verdict.findings.size(), 1U);
  EXPECT_EQ(verdict.findings[0].line, 14U);
  EXPECT_EQ(verdict.findings[0].row, 15U);
}

TEST_F(LogWriterTest, WithoutTheSideFileTheLogIsReadAgain) {
  const auto log = open(4096);
  append_some(*log, 50);
  const auto first = log->checkpoint().value();
  std::filesystem::remove(side_file_path(path_));
  const auto again = open()->checkpoint();
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->note, first->note);
  // One that was altered is not believed either.
  for (const int at : {30, 70, 110, 150, 200}) {
    std::fstream side(side_file_path(path_), std::ios::in | std::ios::out | std::ios::binary);
    side.seekg(at);
    const char byte = static_cast<char>(side.get() ^ 1);
    side.seekp(at);
    side.put(byte);
    side.close();
    const auto read = open()->checkpoint();
    ASSERT_TRUE(read.ok());
    EXPECT_EQ((*read)->note, first->note);
  }
  append_some(*log, 5);
  EXPECT_TRUE(log->checkpoint().ok());
  EXPECT_EQ(findings(), "");
}

TEST_F(LogWriterTest, AFileOfBeforeIsSetAside) {
  std::filesystem::create_directory(dir_.file("audit"));
  std::ofstream(path_) << R"({"time":"2024-01-01T00:00:00.000000Z","store":"","event":"admin"})"
                       << "\n";
  const auto log = open();
  append_some(*log, 3);
  ASSERT_TRUE(log->checkpoint().ok());
  EXPECT_EQ(audit_lines(path_).size(), 3U);
  ASSERT_EQ(files().size(), 2U);
  EXPECT_THAT(files()[0], ::testing::HasSubstr(".plain."));
  const LogVerdict verdict = verify();
  EXPECT_TRUE(verdict.findings.empty());
  EXPECT_EQ(verdict.notes.size(), 1U);
}

TEST_F(LogWriterTest, ATornLineIsVouchedForAndProven) {
  const auto log = open();
  append_some(*log, 3);
  ASSERT_TRUE(log->checkpoint().ok());
  std::ofstream(path_, std::ios::app | std::ios::binary) << R"({"time":"2024-01)";
  EXPECT_TRUE(verify().findings.empty()) << "a crash is no offence";
  EXPECT_EQ(verify().notes.size(), 1U);
  append_some(*open(), 2);
  append_some(*log, 2);
  ASSERT_TRUE(log->checkpoint().ok());
  LogVerdict verdict = verify();
  EXPECT_TRUE(verdict.findings.empty());
  ASSERT_EQ(verdict.logs.size(), 1U);
  EXPECT_EQ(verdict.logs[0].lines, 8U);
  EXPECT_EQ(verdict.logs[0].torn, 1U);
  // What was vouched for can't be changed any more.
  std::vector<std::string> lines = text_lines(path_);
  ASSERT_EQ(lines[3], R"({"time":"2024-01)");
  std::ofstream out(path_, std::ios::trunc | std::ios::binary);
  for (const std::string& line : lines) out << (&line == &lines[3] ? "{" : line) << "\n";
  out.close();
  verdict = verify();
  ASSERT_FALSE(verdict.findings.empty());
  EXPECT_EQ(verdict.findings[0].line, 3U);
}

TEST_F(LogWriterTest, ALineThatWasSignedCannotBeMadeToLookTorn) {
  {
    const auto log = open();
    append_some(*log, 5);
    ASSERT_TRUE(log->checkpoint().ok());
  }
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 20);
  const LogVerdict verdict = verify();
  ASSERT_FALSE(verdict.findings.empty());
  EXPECT_EQ(verdict.findings[0].line, 4U);
  // Nor by who opens it next.
  append_some(*open(), 2);
  EXPECT_FALSE(verify().findings.empty());
}

TEST_F(LogWriterTest, KilledProcessesLoseNoLineAndTheLogStaysWhole) {
  std::set<std::int64_t> acted;
  for (int round = 0; round < 8; ++round) {
    const std::string acts = dir_.file("acts" + std::to_string(round));
    std::vector<std::unique_ptr<ChildProcess>> children;
    for (int child = 0; child < 2; ++child) {
      children.push_back(std::make_unique<ChildProcess>([&, child]() -> bool {
        const auto log = open(64 * 1024);
        const UniqueFd fd(::open(acts.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        for (std::int64_t i = 0;; ++i) {
          const std::int64_t number = (round * 2 + child) * 1'000'000 + i;
          const auto appended = append(*log, number, static_cast<std::size_t>(i * 131 % 5000));
          if (!appended) {
            std::fprintf(stderr, "%s\n", appended.error().message().c_str());
            return false;
          }
          if (::write(fd.get(), &number, sizeof(number)) != sizeof(number)) return false;
          if (i % 20 != 7) continue;
          if (const auto made = log->checkpoint(); !made) {
            std::fprintf(stderr, "%s\n", made.error().message().c_str());
            return false;
          }
        }
      }));
    }
    for (const auto& child : children) child->start();
    EXPECT_TRUE(testing::eventually([&] {
      return std::filesystem::exists(acts) &&
             std::filesystem::file_size(acts) > 400U + round * 100U;
    }));
    children.clear();  // killed
    std::ifstream file(acts, std::ios::binary);
    for (std::int64_t number = 0; file.read(reinterpret_cast<char*>(&number), sizeof(number));) {
      acted.insert(number);
    }
    EXPECT_EQ(findings(), "") << "after round " << round;
  }
  const auto log = open();
  ASSERT_TRUE(append(*log, -2).ok());
  ASSERT_TRUE(log->checkpoint().ok());
  EXPECT_EQ(findings(), "");
  ASSERT_EQ(verify().logs.size(), 1U);
  EXPECT_EQ(verify().logs[0].proven, 1U);
  for (const std::string& name : files()) {
    for (const std::string& line : text_lines(name)) {
      const json parsed = json::parse(line, nullptr, false);
      if (parsed.is_object()) acted.erase(parsed.value("grant", -1));
    }
  }
  EXPECT_TRUE(acted.empty()) << acted.size() << " lines that were acted on are gone";
}

TEST_F(LogWriterTest, BestEffortCountsWhatItDropsAndSaysIt) {
  std::filesystem::create_directory(dir_.file("audit"));
  const auto disk = testing::Mount::tmpfs(dir_.file("audit"), 64 * 1024);
  if (disk == nullptr) COFFER_SKIP("this process may not mount a tmpfs");
  const std::string filler = dir_.file("audit/filler");
  const auto log = open();
  append_some(*log, 3);
  {
    std::ofstream fill(filler, std::ios::binary);
    fill << std::string(64 * 1024, 'f');
  }
  EXPECT_EQ(append(*log, 4, 5000).error().code, Code::kNoSpace);
  log->set_mode(AuditMode::kBestEffort);
  EXPECT_TRUE(append(*log, 5, 5000).ok());
  EXPECT_TRUE(append(*log, 6, 5000).ok());
  EXPECT_EQ(log->dropped(), 2U);
  std::filesystem::remove(filler);
  ASSERT_TRUE(append(*log, 7, 5000).ok());
  ASSERT_TRUE(append(*log, 8, 5000).ok());
  ASSERT_TRUE(log->checkpoint().ok());
  int lost = 0;
  std::vector<std::int64_t> written;
  for (const json& line : audit_lines(path_)) {
    if (line.at("event") == "dropped") {
      lost += line.at("lost").get<int>();
    } else {
      written.push_back(line.at("grant"));
    }
  }
  EXPECT_EQ(lost, 2);
  EXPECT_EQ(written, (std::vector<std::int64_t>{0, 1, 2, 7, 8}));
  EXPECT_EQ(log->dropped(), 2U);
  EXPECT_EQ(findings(), "");
}

}  // namespace
}  // namespace coffer
