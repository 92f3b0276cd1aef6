// The layer that loses power, on protocols so small that one can see which of them are safe: what
// is safe passes every state, and what lacks a barrier is caught.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <functional>

#include "tests/support/fs_power.h"
#include "tests/support/fs_random.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Journaling kJournalings[] = {Journaling::kWhole, Journaling::kInOrder,
                                       Journaling::kAnyOrder};
constexpr std::uint64_t kLossesEach = 40;

/// A directory on which a protocol runs through a log.
class Disk {
 public:
  void begin() {
    log_.emplace(dir_.path());
    root_ = UniqueFd(log_->openat(AT_FDCWD, dir_.path().c_str(), O_PATH | O_DIRECTORY, 0));
  }
  PowerLog& log() { return *log_; }

  UniqueFd open(const std::string& name, int flags = O_RDWR | O_CREAT) {
    UniqueFd fd(log_->openat(root_.get(), name.c_str(), flags | O_CLOEXEC, 0600));
    EXPECT_TRUE(fd.valid()) << name << ": " << std::strerror(errno);
    return fd;
  }
  void write(const UniqueFd& fd, std::uint64_t offset, std::size_t count, char filling) {
    const std::string text(count, filling);
    EXPECT_EQ(log_->pwrite(fd.get(), text.data(), count, static_cast<off_t>(offset)),
              static_cast<ssize_t>(count));
  }
  void data_sync(const UniqueFd& fd) { EXPECT_EQ(log_->fdatasync(fd.get()), 0); }
  void sync(const UniqueFd& fd) { EXPECT_EQ(log_->fsync(fd.get()), 0); }
  void sync_dir() { sync(UniqueFd(open(".", O_RDONLY | O_DIRECTORY))); }
  void rename(const std::string& from, const std::string& to) {
    EXPECT_EQ(log_->renameat2(root_.get(), from.c_str(), root_.get(), to.c_str(), 0), 0);
  }
  void unlink(const std::string& name) {
    EXPECT_EQ(log_->unlinkat(root_.get(), name.c_str(), 0), 0);
  }
  [[nodiscard]] int root() const { return root_.get(); }

 private:
  TempDir dir_;
  std::optional<PowerLog> log_;
  UniqueFd root_;
};

/// A file's content after a power loss; nothing if there is no such file.
std::optional<std::string> content_of(const PowerImage& image, const std::string& name) {
  const auto& entries = image.nodes.at(image.root).entries;
  const auto entry = entries.find(name);
  if (entry == entries.end()) return {};
  return std::string(as_text(image.nodes.at(entry->second).content));
}

/// The first loss, of many, after which `whole` does not hold; nothing if there is none.
std::optional<std::string> find_failure(
    const PowerLog& log, Journaling journaling,
    const std::function<bool(const PowerImage&, std::size_t position)>& whole) {
  for (std::size_t position = 0; position <= log.position(); ++position) {
    for (std::uint64_t seed = 0; seed < kLossesEach; ++seed) {
      const PowerLoss loss{.position = position, .journaling = journaling, .seed = seed};
      if (!whole(state_after_power_loss(log, loss), position)) return to_text(loss);
    }
  }
  return {};
}

constexpr std::size_t kOld = 5000;
constexpr std::size_t kNew = 9000;

/// A small file replaced whole: what Coffer does with its own.
struct Replacing {
  bool sync_file = true;
  bool sync_dir = true;
};

std::optional<std::string> replacing_fails(const Replacing& how, Journaling journaling) {
  Disk disk;
  disk.begin();
  const UniqueFd old = disk.open("file");
  disk.write(old, 0, kOld, 'o');
  disk.sync(old);
  disk.sync_dir();
  const std::size_t there = disk.log().position();
  const UniqueFd fresh = disk.open("file.new");
  disk.write(fresh, 0, kNew, 'n');
  if (how.sync_file) disk.sync(fresh);
  disk.rename("file.new", "file");
  if (how.sync_dir) disk.sync_dir();
  const std::size_t done = disk.log().position();
  return find_failure(disk.log(), journaling, [&](const PowerImage& image, std::size_t position) {
    if (position < there) return true;
    const auto content = content_of(image, "file");
    if (content == std::string(kNew, 'n')) return true;
    return position < done && content == std::string(kOld, 'o');
  });
}

TEST(PowerLayer, AFileReplacedAsItShouldBeIsOldOrNewAndWhole) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_EQ(replacing_fails({}, journaling), std::nullopt) << to_text(journaling);
  }
}

TEST(PowerLayer, AFileReplacedWithoutItsOwnSyncIsCaught) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_NE(replacing_fails({.sync_file = false}, journaling), std::nullopt)
        << to_text(journaling);
  }
}

TEST(PowerLayer, AFileReplacedWithoutASyncOfItsDirectoryIsCaught) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_NE(replacing_fails({.sync_dir = false}, journaling), std::nullopt)
        << to_text(journaling);
  }
}

/// Two blocks that have to change together, by way of a redo journal beside them.
struct Redoing {
  bool sync_journal = true;
  bool sync_file = true;
};

constexpr std::size_t kBoth = 8192;

/// A journal counts once its last byte, the mark of a whole one, is there with all before it.
bool pair_is_whole(const PowerImage& image, char expected, char other) {
  std::string pair = content_of(image, "pair").value_or("");
  const auto journal = content_of(image, "journal");
  if (journal.has_value() && journal->size() == kBoth + 1 && journal->back() == '!') {
    pair = journal->substr(0, kBoth);
  }
  return pair == std::string(kBoth, expected) || pair == std::string(kBoth, other);
}

std::optional<std::string> redoing_fails(const Redoing& how, Journaling journaling) {
  Disk disk;
  disk.begin();
  const UniqueFd pair = disk.open("pair");
  disk.write(pair, 0, kBoth, 'o');
  disk.sync(pair);
  disk.sync_dir();
  const std::size_t there = disk.log().position();
  const UniqueFd journal = disk.open("journal");
  disk.write(journal, 0, kBoth, 'n');
  if (how.sync_journal) disk.data_sync(journal);
  disk.write(journal, kBoth, 1, '!');
  disk.data_sync(journal);
  disk.sync_dir();
  disk.write(pair, 4096, 4096, 'n');
  disk.write(pair, 0, 4096, 'n');
  if (how.sync_file) disk.data_sync(pair);
  const std::size_t done = disk.log().position();
  disk.unlink("journal");
  disk.sync_dir();
  return find_failure(disk.log(), journaling, [&](const PowerImage& image, std::size_t position) {
    return position < there || pair_is_whole(image, 'n', position < done ? 'o' : 'n');
  });
}

TEST(PowerLayer, ARedoJournalKeepsTwoBlocksTogether) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_EQ(redoing_fails({}, journaling), std::nullopt) << to_text(journaling);
  }
}

TEST(PowerLayer, AJournalThatIsMarkedWholeTooEarlyIsCaught) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_NE(redoing_fails({.sync_journal = false}, journaling), std::nullopt)
        << to_text(journaling);
  }
}

TEST(PowerLayer, AJournalThatGoesBeforeItWasAppliedIsCaught) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_NE(redoing_fails({.sync_file = false}, journaling), std::nullopt) << to_text(journaling);
  }
}

/// Data, then the header that says where it ends; or the other way round.
std::optional<std::string> appending_fails(bool header_first, Journaling journaling) {
  Disk disk;
  disk.begin();
  const UniqueFd file = disk.open("file");
  disk.write(file, 0, 4096, 'h');
  disk.sync(file);
  disk.sync_dir();
  const std::size_t there = disk.log().position();
  const auto write_header = [&] { disk.write(file, 0, 1, 'H'); };
  const auto write_data = [&] { disk.write(file, 4096, 4096, 'd'); };
  header_first ? write_header() : write_data();
  disk.data_sync(file);
  header_first ? write_data() : write_header();
  disk.data_sync(file);
  return find_failure(disk.log(), journaling, [&](const PowerImage& image, std::size_t position) {
    const std::string content = content_of(image, "file").value_or("");
    if (position < there || content.empty() || content[0] != 'H')
      return position < there || content[0] == 'h';
    return content.substr(4096) == std::string(4096, 'd');
  });
}

TEST(PowerLayer, DataBeforeItsHeaderIsSafeAndTheOtherWayRoundIsCaught) {
  for (const Journaling journaling : kJournalings) {
    EXPECT_EQ(appending_fails(false, journaling), std::nullopt) << to_text(journaling);
    EXPECT_NE(appending_fails(true, journaling), std::nullopt) << to_text(journaling);
  }
}

/// A rename, and a barrier somewhere that may or may not bring it to the disk.
bool rename_can_be_lost(const std::function<void(Disk&, const UniqueFd& file)>& barrier,
                        Journaling journaling) {
  Disk disk;
  disk.begin();
  const UniqueFd file = disk.open("a");
  const UniqueFd other = disk.open("other");
  disk.sync(file);
  disk.sync(other);
  disk.sync_dir();
  disk.rename("a", "b");
  disk.write(other, 0, 10, 'x');
  barrier(disk, file);
  for (std::uint64_t seed = 0; seed < kLossesEach; ++seed) {
    const PowerImage image = state_after_power_loss(
        disk.log(), {.position = disk.log().position(), .journaling = journaling, .seed = seed});
    EXPECT_NE(content_of(image, "a").has_value(), content_of(image, "b").has_value())
        << "a rename is one change";
    if (content_of(image, "a").has_value()) return true;
  }
  return false;
}

TEST(PowerLayer, WhatABarrierDoesForANameIsTheJournalsAffair) {
  const auto lost = [](const std::function<void(Disk&, const UniqueFd&)>& barrier) {
    std::vector<bool> in_each;
    for (const Journaling journaling : kJournalings) {
      in_each.push_back(rename_can_be_lost(barrier, journaling));
    }
    return in_each;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(lost([](Disk&, const UniqueFd&) {}), ElementsAre(true, true, true));
  EXPECT_THAT(lost([](Disk& disk, const UniqueFd& file) { disk.sync(file); }),
              ElementsAre(false, false, true));
  EXPECT_THAT(lost([](Disk& disk, const UniqueFd& file) { disk.data_sync(file); }),
              ElementsAre(true, true, true));
  EXPECT_THAT(lost([](Disk& disk, const UniqueFd&) { disk.sync(disk.open("other")); }),
              ElementsAre(false, true, true));
  EXPECT_THAT(lost([](Disk& disk, const UniqueFd&) { disk.sync_dir(); }),
              ElementsAre(false, false, false));
  EXPECT_THAT(lost([](Disk& disk, const UniqueFd&) { disk.log().syncfs(disk.root()); }),
              ElementsAre(false, false, false));
}

/// What one unsynced change can leave of a file that was synced before.
std::set<std::string> leavings(const std::function<void(Disk&, const UniqueFd&)>& change) {
  Disk disk;
  disk.begin();
  const UniqueFd file = disk.open("file");
  disk.write(file, 0, 8192, 'o');
  disk.sync(file);
  disk.sync_dir();
  change(disk, file);
  std::set<std::string> found;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const PowerImage image =
        state_after_power_loss(disk.log(), {.position = disk.log().position(), .seed = seed});
    const std::string content = content_of(image, "file").value_or("");
    std::string runs;  // "o8192": runs of one byte
    for (std::size_t at = 0; at < content.size();) {
      const std::size_t end = std::min(content.find_first_not_of(content[at], at), content.size());
      runs += (runs.empty() ? "" : " ") + (content[at] == 0 ? "0" : std::string(1, content[at])) +
              "*" + std::to_string(end - at);
      at = end;
    }
    found.insert(runs);
  }
  return found;
}

TEST(PowerLayer, AnUnsyncedWriteIsTornAtSectorsAndAtPages) {
  const auto found = leavings([](Disk& disk, const UniqueFd& file) {
    disk.write(file, 0, 1024, 'n');
    disk.write(file, 1024, 512, 'm');
  });
  using ::testing::IsSupersetOf;
  EXPECT_THAT(found, IsSupersetOf({"o*8192", "n*512 o*7680", "o*512 n*512 o*7168", "n*1024 o*7168",
                                   "o*1024 m*512 o*6656", "n*1024 m*512 o*6656"}));
}

TEST(PowerLayer, AnUnsyncedTruncationIsThereOrNotAndZerosMayBeSeen) {
  const auto found = leavings([](Disk& disk, const UniqueFd& file) {
    EXPECT_EQ(disk.log().ftruncate(file.get(), 1000), 0);
  });
  EXPECT_THAT(found, ::testing::UnorderedElementsAre("o*8192", "o*1000", "o*1000 0*3096 o*4096"));
}

TEST(PowerLayer, AnUnsyncedExtensionMayBeShortOrZeros) {
  const auto found =
      leavings([](Disk& disk, const UniqueFd& file) { disk.write(file, 8192, 8192, 'n'); });
  EXPECT_THAT(found, ::testing::IsSupersetOf({"o*8192", "o*8192 0*8192", "o*8192 n*4096",
                                              "o*8192 n*8192", "o*8192 0*4096 n*4096"}));
}

TEST(PowerLayer, AFileMadeWithoutANameIsThereOnceItsLinkIsSynced) {
  const TempDir dir;
  const UniqueFd probe(::open(dir.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!probe.valid()) COFFER_SKIP("no O_TMPFILE here");
  Disk disk;
  disk.begin();
  const UniqueFd file(disk.log().openat(disk.root(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  disk.write(file, 0, 3, 'x');
  const std::string self = "/proc/self/fd/" + std::to_string(file.get());
  ASSERT_EQ(disk.log().linkat(AT_FDCWD, self.c_str(), disk.root(), "file", AT_SYMLINK_FOLLOW), 0);
  const std::size_t linked = disk.log().position();
  disk.data_sync(file);
  const auto fails = [&](Journaling journaling, std::size_t from) {
    return find_failure(disk.log(), journaling, [&](const PowerImage& image, std::size_t position) {
      return position < from || content_of(image, "file") == "xxx";
    });
  };
  for (const Journaling journaling : {Journaling::kWhole, Journaling::kInOrder}) {
    EXPECT_NE(fails(journaling, linked), std::nullopt) << to_text(journaling);
    EXPECT_EQ(fails(journaling, disk.log().position()), std::nullopt) << to_text(journaling);
  }
}

TEST(PowerLayer, WhoIsKilledLosesNothingButTheEndOfAWrite) {
  Disk disk;
  disk.begin();
  const UniqueFd file = disk.open("file.new");
  disk.write(file, 0, 8192, 'o');
  disk.rename("file.new", "file");
  const std::size_t renamed = disk.log().position();
  disk.write(file, 4096, 8192, 'n');
  std::set<std::string> found;
  for (std::uint64_t seed = 0; seed < kLossesEach; ++seed) {
    const auto at = [&](std::size_t position) {
      const PowerLoss loss{.position = position, .journaling = Journaling::kKilled, .seed = seed};
      return content_of(state_after_power_loss(disk.log(), loss), "file").value_or("none");
    };
    EXPECT_EQ(at(renamed), std::string(8192, 'o'));
    found.insert(at(renamed + 1));
  }
  const std::string first(4096, 'o');
  EXPECT_THAT(found, ::testing::UnorderedElementsAre(first + first, first + std::string(4096, 'n'),
                                                     first + std::string(8192, 'n')));
}

TEST(PowerLayer, ALostBarrierIsNoBarrier) {
  Disk disk;
  disk.begin();
  disk.log().loses_barrier = [](const PowerEvent& event) {
    return event.kind == PowerEvent::Kind::kSyncFile;
  };
  const UniqueFd file = disk.open("file");
  disk.write(file, 0, 10, 'x');
  disk.sync(file);
  disk.sync_dir();
  const auto failure = find_failure(
      disk.log(), Journaling::kWhole, [&](const PowerImage& image, std::size_t position) {
        return position < disk.log().position() || content_of(image, "file") == "xxxxxxxxxx";
      });
  EXPECT_NE(failure, std::nullopt);
}

TEST(PowerLayer, AnImageIsWrittenAsItWasRead) {
  const TempDir from;
  const TempDir to;
  const auto at = [&](const char* name) { return from.file(name); };
  ASSERT_EQ(::mkdir(at("d").c_str(), 0750), 0);
  const UniqueFd file(::open(at("d/f").c_str(), O_WRONLY | O_CREAT, 0640));
  ASSERT_EQ(::write(file.get(), "content", 7), 7);
  ASSERT_EQ(::link(at("d/f").c_str(), at("g").c_str()), 0);
  ASSERT_EQ(::symlink("target", at("s").c_str()), 0);
  ASSERT_EQ(::mkfifo(at("p").c_str(), 0600), 0);
  PowerImage::read(from.path()).write(to.path());
  const PowerImage image = PowerImage::read(to.path());
  const auto& root = image.nodes.at(image.root).entries;
  ASSERT_EQ(root.size(), 4U);
  const PowerImage::Node& dir = image.nodes.at(root.at("d"));
  EXPECT_EQ(dir.mode & 07777U, 0750U);
  EXPECT_EQ(dir.entries.at("f"), root.at("g"));
  EXPECT_EQ(image.nodes.at(root.at("g")).content, ByteVector({'c', 'o', 'n', 't', 'e', 'n', 't'}));
  EXPECT_EQ(image.nodes.at(root.at("s")).target, "target");
  EXPECT_TRUE(S_ISFIFO(image.nodes.at(root.at("p")).mode));
}

}  // namespace
}  // namespace coffer
