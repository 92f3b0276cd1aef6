#include "keystore/base/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <thread>

#include "keystore/base/unique_fd.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/base/file_content.h"

namespace coffer {
namespace {

using testing::content_of;
using testing::TempDir;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

std::size_t entries_in(const std::string& path) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++count;
  return count;
}

TEST(CreateFile, MakesItWithContentAndMode) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("a"), as_bytes("content"), 0600).ok());
  EXPECT_EQ(content_of(dir.file("a")), "content");
  EXPECT_EQ(mode_of(dir.file("a")), 0600U);
  ASSERT_TRUE(create_file(dir.file("empty"), {}, 0400).ok());
  EXPECT_EQ(content_of(dir.file("empty")), "");
  EXPECT_EQ(mode_of(dir.file("empty")), 0400U);
}

TEST(CreateFile, LeavesAnExistingFileAsItIs) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("a"), as_bytes("old"), 0640).ok());
  const auto again = create_file(dir.file("a"), as_bytes("new"), 0600);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kExists);
  EXPECT_EQ(again.error().errno_value, EEXIST);
  EXPECT_NE(again.error().context.find(dir.file("a")), std::string::npos);
  EXPECT_EQ(content_of(dir.file("a")), "old");
}

TEST(CreateFile, FollowsNoSymlink) {
  const TempDir dir;
  ASSERT_EQ(::symlink(dir.file("target").c_str(), dir.file("link").c_str()), 0);
  const auto made = create_file(dir.file("link"), as_bytes("x"), 0600);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::kExists);
  EXPECT_FALSE(std::filesystem::exists(dir.file("target")));
}

TEST(CreateFile, MissingDirectory) {
  const TempDir dir;
  const auto made = create_file(dir.file("no/a"), as_bytes("x"), 0600);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::kNotFound);
  EXPECT_EQ(entries_in(dir.path()), 0U);
}

TEST(ReplaceFile, MakesAndReplaces) {
  const TempDir dir;
  ASSERT_TRUE(replace_file(dir.file("a"), as_bytes("one"), 0600).ok());
  EXPECT_EQ(content_of(dir.file("a")), "one");
  ASSERT_TRUE(replace_file(dir.file("a"), as_bytes("second"), 0640).ok());
  EXPECT_EQ(content_of(dir.file("a")), "second");
  EXPECT_EQ(mode_of(dir.file("a")), 0640U);
  EXPECT_EQ(entries_in(dir.path()), 1U);
}

TEST(ReplaceFile, WhoHasTheOldOneOpenKeepsIt) {
  const TempDir dir;
  ASSERT_TRUE(replace_file(dir.file("a"), as_bytes("old"), 0600).ok());
  const UniqueFd open_before(::open(dir.file("a").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(replace_file(dir.file("a"), as_bytes("new"), 0600).ok());
  ByteVector buffer(10);
  const auto length = read_up_to(open_before.get(), buffer);
  ASSERT_TRUE(length.ok());
  EXPECT_EQ(as_text(Bytes(buffer).first(*length)), "old");
}

TEST(ReplaceFile, TakesOverWhatACrashLeftBehind) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("a.new"), as_bytes("half a fi"), 0600).ok());
  ASSERT_TRUE(replace_file(dir.file("a"), as_bytes("whole"), 0600).ok());
  EXPECT_EQ(content_of(dir.file("a")), "whole");
  EXPECT_EQ(entries_in(dir.path()), 1U);
}

TEST(ReplaceFile, MissingDirectory) {
  const TempDir dir;
  const auto made = replace_file(dir.file("no/a"), as_bytes("x"), 0600);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::kNotFound);
  EXPECT_EQ(entries_in(dir.path()), 0U);
}

TEST(ReplaceFile, AFailedRenameLeavesNothingBehind) {
  const TempDir dir;
  ASSERT_EQ(::mkdir(dir.file("a").c_str(), 0700), 0);
  const auto made = replace_file(dir.file("a"), as_bytes("x"), 0600);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::kInvalid);
  EXPECT_EQ(made.error().errno_value, EISDIR);
  EXPECT_EQ(entries_in(dir.path()), 1U);
}

TEST(ReplaceFile, WorksByARelativePath) {
  const TempDir dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  const auto made = replace_file("bare-name", as_bytes("x"), 0600);
  std::filesystem::current_path(before);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(content_of(dir.file("bare-name")), "x");
}

TEST(ReadSmallFile, HasALimit) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("a"), as_bytes("12345"), 0600).ok());
  EXPECT_EQ(as_text(*read_small_file(dir.file("a"), 5)), "12345");
  EXPECT_EQ(as_text(*read_small_file(dir.file("a"), 6)), "12345");
  const auto too_long = read_small_file(dir.file("a"), 4);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, Code::kInvalid);
  EXPECT_NE(too_long.error().context.find(dir.file("a")), std::string::npos);
}

TEST(ReadSmallFile, ErrorsNameTheFileAndTheCause) {
  const TempDir dir;
  const auto missing = read_small_file(dir.file("none"), 10);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(missing.error().errno_value, ENOENT);
  EXPECT_NE(missing.error().context.find(dir.file("none")), std::string::npos);

  const auto directory = read_small_file(dir.path(), 10);
  ASSERT_FALSE(directory.ok());
  EXPECT_EQ(directory.error().errno_value, EISDIR);
  EXPECT_NE(directory.error().context.find(dir.path()), std::string::npos);
}

TEST(ReadSmallFile, DoesNotWaitForAFifosWriter) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
  const auto content = read_small_file(dir.file("fifo"), 10);
  ASSERT_TRUE(content.ok());
  EXPECT_TRUE(content->empty());
}

TEST(MakeDirectories, MakesAllThatAreMissing) {
  const TempDir dir;
  ASSERT_TRUE(make_directories(dir.file("a/b//c/"), 0700).ok());
  EXPECT_EQ(mode_of(dir.file("a")), 0700U);
  EXPECT_EQ(mode_of(dir.file("a/b/c")), 0700U);
  ASSERT_TRUE(make_directories(dir.file("a/b/c"), 0750).ok());
  EXPECT_EQ(mode_of(dir.file("a/b/c")), 0700U);  // what stood there stays
  EXPECT_TRUE(make_directories("/", 0700).ok());
}

TEST(MakeDirectories, RefusesAFileInTheWay) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("file"), {}, 0600).ok());
  const auto at_end = make_directories(dir.file("file"), 0700);
  ASSERT_FALSE(at_end.ok());
  EXPECT_EQ(at_end.error().errno_value, ENOTDIR);
  const auto between = make_directories(dir.file("file/a"), 0700);
  ASSERT_FALSE(between.ok());
  EXPECT_EQ(between.error().errno_value, ENOTDIR);
  EXPECT_FALSE(make_directories("", 0700).ok());
}

TEST(WriteAll, SurvivesShortWrites) {
  // A pipe takes 64 KiB at a time at most, so that a large write comes in pieces.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ByteVector sent(1 << 20);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::uint8_t>(i * 7 / 3);
  std::thread thread([&] {
    EXPECT_TRUE(write_all(writer.get(), sent).ok());
    writer.reset();
  });
  ByteVector received(sent.size() + 1);
  const auto length = read_up_to(reader.get(), received);
  thread.join();
  ASSERT_TRUE(length.ok());
  ASSERT_EQ(*length, sent.size());
  EXPECT_TRUE(equal(Bytes(received).first(*length), sent));
}

TEST(WriteAll, ReportsTheErrno) {
  const UniqueFd read_only(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(write_all(read_only.get(), as_bytes("x")).error().errno_value, EBADF);
  EXPECT_TRUE(write_all(read_only.get(), {}).ok());
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(write_all(full.get(), as_bytes("x")).error().code, Code::kNoSpace);
  ByteVector buffer(4);
  const UniqueFd write_only(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(read_up_to(write_only.get(), buffer).error().errno_value, EBADF);
}

}  // namespace
}  // namespace coffer
