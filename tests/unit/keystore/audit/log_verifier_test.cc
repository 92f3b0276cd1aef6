// Damage of every kind, at random: each is found, and the first line that it touched is named.

#include "keystore/audit/log_verifier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "keystore/audit/audit_log.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_audit_lines.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::TempDir;
using testing::text_lines;

int count_from(const char* variable, int otherwise) {
  const std::string given = testing::environment(variable);
  return given.empty() ? otherwise : std::stoi(given);
}

struct Damaged {
  std::vector<std::string> lines;
  std::size_t first = 0;  // line that is not as it was
  std::string how;
};

class Damages {
 public:
  explicit Damages(std::vector<std::string> lines) : lines_(std::move(lines)), random_(7) {}

  Damaged next() {
    Damaged damaged{.lines = lines_, .first = 0, .how = {}};
    switch (below(8)) {
      case 0:
        edit_byte(damaged);
        break;
      case 1:
        remove(damaged);
        break;
      case 2:
        damaged.how = "truncated";
        damaged.first = below(lines_.size());
        damaged.lines.resize(damaged.first);
        break;
      case 3:
        swap(damaged);
        break;
      case 4:
        rotate(damaged);
        break;
      case 5:
        duplicate(damaged);
        break;
      case 6:
        damaged.how = "cut within a line";
        damaged.first = below(lines_.size());
        damaged.lines.resize(damaged.first + 1);
        damaged.lines.back().resize(below(damaged.lines.back().size()));
        break;
      default:
        insert(damaged);
    }
    return damaged;
  }

 private:
  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }
  void edit_byte(Damaged& damaged) {
    damaged.first = below(lines_.size());
    std::string& line = damaged.lines[damaged.first];
    const std::size_t at = below(line.size());
    const auto flip = static_cast<char>(1 + below(255));
    damaged.how = "byte " + std::to_string(at) + " edited";
    line[at] = static_cast<char>(line[at] ^ flip);
  }
  void remove(Damaged& damaged) {
    const std::size_t count = 1 + below(below(10) == 0 ? 1000 : 3);
    damaged.first = below(lines_.size());
    const std::size_t end = std::min(damaged.first + count, lines_.size());
    damaged.how = std::to_string(end - damaged.first) + " removed";
    damaged.lines.erase(damaged.lines.begin() + static_cast<std::ptrdiff_t>(damaged.first),
                        damaged.lines.begin() + static_cast<std::ptrdiff_t>(end));
  }
  void swap(Damaged& damaged) {
    const std::size_t a = below(lines_.size() - 1);
    const std::size_t b = a + 1 + below(std::min<std::size_t>(lines_.size() - a - 1, 50));
    damaged.how = "swapped with " + std::to_string(b);
    damaged.first = a;
    std::swap(damaged.lines[a], damaged.lines[b]);
  }
  void rotate(Damaged& damaged) {
    damaged.how = "a block moved";
    const std::size_t a = below(lines_.size() - 2);
    damaged.first = a;
    const auto begin = damaged.lines.begin() + static_cast<std::ptrdiff_t>(a);
    const auto end =
        begin + static_cast<std::ptrdiff_t>(std::min<std::size_t>(lines_.size() - a, 40));
    std::rotate(
        begin,
        begin + 1 + static_cast<std::ptrdiff_t>(below(static_cast<std::size_t>(end - begin) - 1)),
        end);
  }
  void duplicate(Damaged& damaged) {
    damaged.how = "an earlier line put in again";
    damaged.first = 1 + below(lines_.size() - 1);
    damaged.lines.insert(damaged.lines.begin() + static_cast<std::ptrdiff_t>(damaged.first),
                         lines_[below(damaged.first)]);
  }
  void insert(Damaged& damaged) {
    damaged.how = "a line put in";
    damaged.first = below(lines_.size());
    std::string line = below(3) == 0 ? "" : lines_[below(lines_.size())];
    if (!line.empty()) line.replace(line.find("\"release\""), 9, "\"refuse\"");
    damaged.lines.insert(damaged.lines.begin() + static_cast<std::ptrdiff_t>(damaged.first), line);
  }

  std::vector<std::string> lines_;
  std::mt19937_64 random_;
};

class LogVerifierTest : public ::testing::Test {
 protected:
  void write_log(int lines, std::uint64_t rotate_at) {
    const auto log =
        AuditLog::open(path_, StoreId{}, clock_, testing::audit_keys(), {.rotate_at = rotate_at});
    ASSERT_TRUE(log.ok());
    for (int i = 0; i < lines; ++i) {
      AuditEvent event;
      event.event = "release";
      event.decision = "allow";
      event.path = "/models/llama/weights.bin";
      event.grant = GrantId{i};
      ASSERT_TRUE((*log)->append(event).ok());
    }
    ASSERT_TRUE((*log)->checkpoint().ok());
  }
  /// Puts the lines into the files as they were cut, `sizes` lines each; what is more goes into the
  /// last.
  static void put(const std::string& path, const std::vector<std::string>& lines, bool ended) {
    std::string text;
    for (const std::string& line : lines) text.append(line).append("\n");
    if (!ended && !text.empty()) text.pop_back();
    std::ofstream(path, std::ios::trunc | std::ios::binary) << text;
  }
  LogVerdict verify() {
    auto verdict = verify_logs(path_, StoreId{}, testing::audit_keys(), {}, {});
    EXPECT_TRUE(verdict.ok()) << verdict.error().message();
    return verdict.ok() ? std::move(*verdict) : LogVerdict();
  }

  TempDir dir_;
  std::string path_ = dir_.file("log");
  Clock clock_;
};

TEST_F(LogVerifierTest, EveryDamageIsFoundAndLocated) {
  const int line_count = count_from("COFFER_AUDIT_LINES", 2'000);
  const int damage_count = count_from("COFFER_AUDIT_DAMAGES", 300);
  write_log(line_count, std::uint64_t{64} << 30U);
  const std::vector<std::string> lines = text_lines(path_);
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(line_count));
  ASSERT_TRUE(verify().findings.empty());
  Damages damages(lines);
  for (int i = 0; i < damage_count; ++i) {
    const Damaged damaged = damages.next();
    SCOPED_TRACE(damaged.how + " at line " + std::to_string(damaged.first));
    put(path_, damaged.lines, damaged.how != "cut within a line");
    const LogVerdict verdict = verify();
    ASSERT_FALSE(verdict.findings.empty());
    EXPECT_EQ(verdict.findings[0].line, damaged.first);
    if (!verdict.findings[0].file.empty()) {
      EXPECT_EQ(verdict.findings[0].file, path_);
      EXPECT_EQ(verdict.findings[0].row, damaged.first + 1);
    }
  }
  put(path_, lines, true);
  EXPECT_TRUE(verify().findings.empty());
}

TEST_F(LogVerifierTest, InWhicheverFileItIs) {
  const int damage_count = count_from("COFFER_AUDIT_DAMAGES", 300);
  write_log(600, 32 * 1024);
  std::vector<std::string> names;
  const auto found = find_log_files(path_);
  ASSERT_TRUE(found.ok());
  for (const LogFile& file : *found) names.push_back(file.path);
  ASSERT_GE(names.size(), 4U);
  std::vector<std::vector<std::string>> parts;
  std::vector<std::size_t> firsts;
  std::size_t total = 0;
  for (const std::string& name : names) {
    firsts.push_back(total);
    parts.push_back(text_lines(name));
    total += parts.back().size();
  }
  ASSERT_EQ(total, 600U);
  std::mt19937_64 random(3);
  for (int i = 0; i < damage_count; ++i) {
    const std::size_t which = random() % names.size();
    std::vector<std::string> part = parts[which];
    // The first line, which says where the file belongs, as often as all others together.
    const std::size_t row = random() % 2 == 0 ? 0 : random() % part.size();
    const bool edit = random() % 2 == 0;
    std::size_t at = 0;
    if (edit) {
      at = random() % part[row].size();
      part[row][at] = static_cast<char>(part[row][at] ^ (1 + static_cast<char>(random() % 100)));
    } else {
      part.erase(part.begin() + static_cast<std::ptrdiff_t>(row));
    }
    SCOPED_TRACE((edit ? "byte " + std::to_string(at) + " edited" : std::string("removed")) +
                 " in row " + std::to_string(row) + " of file " + std::to_string(which));
    put(names[which], part, true);
    const LogVerdict verdict = verify();
    ASSERT_FALSE(verdict.findings.empty());
    EXPECT_EQ(verdict.findings[0].line, firsts[which] + row);
    put(names[which], parts[which], true);
  }
  for (std::size_t which = 0; which < names.size(); ++which) {
    const std::string hidden = dir_.file("hidden");
    std::filesystem::rename(names[which], hidden);
    const LogVerdict verdict = verify();
    ASSERT_FALSE(verdict.findings.empty());
    EXPECT_EQ(verdict.findings[0].line, firsts[which]);
    std::filesystem::rename(hidden, names[which]);
  }
  EXPECT_TRUE(verify().findings.empty());
}

TEST_F(LogVerifierTest, WhoLacksTheKeyForgesNothing) {
  write_log(50, std::uint64_t{1} << 30U);
  // A log of the attacker's own making, whole in itself.
  const std::string theirs = dir_.file("theirs/log");
  AuditKeys keys{SecretBytes(32), SecretBytes(32)};
  const auto log = AuditLog::open(theirs, StoreId{}, clock_, std::move(keys));
  ASSERT_TRUE(log.ok());
  for (int i = 0; i < 60; ++i) {
    AuditEvent event;
    event.event = "release";
    ASSERT_TRUE((*log)->append(event).ok());
  }
  ASSERT_TRUE((*log)->checkpoint().ok());
  std::filesystem::copy_file(theirs, path_, std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(verify().findings.empty());
  std::filesystem::copy_file(side_file_path(theirs), side_file_path(path_),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(verify().findings.empty());
}

TEST_F(LogVerifierTest, ACheckpointOfAnotherHistoryContradicts) {
  write_log(50, std::uint64_t{1} << 30U);
  const auto side = read_side_file(path_, LineMac(testing::audit_keys().lines.expose()));
  ASSERT_TRUE(side.has_value());
  Checkpoint checkpoint{.origin = log_origin(StoreId{}, side->id), .size = 20, .root = {}};
  const Ed25519Key key(testing::audit_keys().seed);
  const std::vector<KnownCheckpoint> known = {
      {.source = "kept", .note = sign_checkpoint(checkpoint, key)}};
  const auto verdict = verify_logs(path_, StoreId{}, testing::audit_keys(), known, {});
  ASSERT_TRUE(verdict.ok());
  ASSERT_EQ(verdict->findings.size(), 1U);
  EXPECT_EQ(verdict->findings[0].code, Code::kCorrupt);
  // One that others signed proves nothing.
  const std::vector<KnownCheckpoint> foreign = {
      {.source = "kept", .note = sign_checkpoint(checkpoint, Ed25519Key(SecretBytes(32)))}};
  const auto refused = verify_logs(path_, StoreId{}, testing::audit_keys(), foreign, {});
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->findings.size(), 1U);
}

}  // namespace
}  // namespace coffer
