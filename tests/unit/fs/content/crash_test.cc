// What an open finds when the program was killed, or the power lost: fs/FORMAT.md, 7. The power
// itself is tried out in tests/power; here are the single cases.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentModel;
using testing::ContentWorld;
using testing::HookedSyscalls;
using testing::kChunk;
using testing::MemoryFile;
using testing::SystemCall;
using testing::test_binding;

constexpr KnownGenerations kNothingKnown{};

class Crash : public ::testing::Test {
 protected:
  std::unique_ptr<EncryptedFile> create() { return world_.create(backing_, 12, keys_, calls_); }
  [[nodiscard]] std::string journal_path() const {
    return world_.journals().file(keys_->file.hex());
  }
  [[nodiscard]] bool has_journal() const { return std::filesystem::exists(journal_path()); }

  /// What lies on the disk at this moment, as another program finds it.
  struct Left {
    ContentWorld world;
    MemoryFile backing;
  };
  [[nodiscard]] std::unique_ptr<Left> left() const {
    auto copy = std::make_unique<Left>();
    copy->backing.copy_from(backing_);
    if (has_journal()) {
      std::filesystem::copy_file(journal_path(), copy->world.journals().file(keys_->file.hex()));
    }
    return copy;
  }
  static ByteVector content(EncryptedFile& file) {
    ByteVector out(file.size());
    const auto length = file.read(0, out);
    EXPECT_TRUE(length.ok()) << length.error().message();
    return out;
  }
  /// The content that an open finds, nothing being on record.
  ByteVector found(Left& left, const KnownGenerations& known = kNothingKnown) {
    auto opened = left.world.open(left.backing, left.world.keys(), real_syscalls(), known);
    if (!opened) {
      ADD_FAILURE() << opened.error().message();
      return {};
    }
    recovery_ = (*opened)->recovery();
    return content(**opened);
  }

  /// What those see who look into damage.
  static std::unique_ptr<EncryptedFile> look_into(Left& left) {
    BackingFile backing = left.backing.open();
    const auto raw = read_raw_header(backing);
    auto opened = EncryptedFile::open_damaged(left.world.context(), std::move(backing), *raw,
                                              left.world.keys(), kNothingKnown);
    if (!opened) throw std::runtime_error(opened.error().message());
    return std::move(*opened);
  }
  /// One of the header slots is of this generation.
  [[nodiscard]] bool has_slot(std::uint64_t generation) const {
    const RawHeader raw = *read_raw_header(backing_.open());
    return std::any_of(raw.slots.begin(), raw.slots.end(), [&](const Block& slot) {
      const auto header = decode_header(slot);
      return header.ok() && header->generation == generation;
    });
  }
  [[nodiscard]] bool has_journal(const Left& left) const {
    return std::filesystem::exists(left.world.journals().file(keys_->file.hex()));
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
  std::optional<Recovery> recovery_;
};

TEST_F(Crash, WhatIsCountedOnIsWrittenOverFromAJournalOnly) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(3 * kChunk, 'a')).ok());
  EXPECT_FALSE(has_journal()) << "nothing was there before";
  ASSERT_TRUE(file->commit().ok());
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->write(3 * kChunk, ByteVector(kChunk, 'c')).ok());
  EXPECT_TRUE(file->unsettled());
  EXPECT_TRUE(has_journal());
  EXPECT_EQ(found(*left()), ByteVector(3 * kChunk, 'a')) << "killed before the commit";
  ASSERT_TRUE(file->commit().ok());
  const ByteVector now = content(*file);
  EXPECT_EQ(now[0], 'b');
  EXPECT_EQ(now[3 * kChunk], 'c');
  EXPECT_EQ(found(*left()), now) << "killed after it";
  EXPECT_EQ(recovery_->from_journal, 1U);
  ASSERT_TRUE(file->settle().ok());
  EXPECT_FALSE(has_journal());
  EXPECT_EQ(found(*left()), now);
}

TEST_F(Crash, RecoveryIsDoneOnce) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->commit().ok());
  ASSERT_TRUE(file->write(10, as_bytes("bcd")).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const auto after = left();
  EXPECT_EQ(found(*after), content(*file));
  EXPECT_FALSE(std::filesystem::exists(after->world.journals().file(keys_->file.hex())));
  EXPECT_EQ(found(*after, ContentWorld::kOnRecord), content(*file));
  EXPECT_FALSE(recovery_.has_value());
}

TEST_F(Crash, WhoLooksIntoItSeesTheJournalAndLeavesIt) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(3 * kChunk, 'a')).ok());
  ASSERT_TRUE(file->commit().ok());
  ASSERT_TRUE(file->write(kChunk, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const auto after = left();
  const ByteVector before = after->backing.bytes(0, after->backing.size());
  {
    const auto seen = look_into(*after);
    EXPECT_EQ(seen->committed().generation, file->committed().generation);
    Losses losses;
    ByteVector out(3 * kChunk);
    EXPECT_EQ(seen->salvage(0, out, losses), out.size());
    EXPECT_TRUE(losses.none());
    EXPECT_EQ(out, content(*file));
    EXPECT_EQ(*seen->missing_bytes(), 0U);
  }
  EXPECT_TRUE(has_journal(*after));
  EXPECT_EQ(after->backing.bytes(0, after->backing.size()), before);
  ASSERT_TRUE(look_into(*after)->supersede(100).ok());
  EXPECT_FALSE(has_journal(*after));
  EXPECT_EQ(found(*after, ContentWorld::kOnRecord), content(*file));
  EXPECT_EQ(look_into(*after)->committed().generation, 101U);
}

/// The new header would else be the one that the journal goes on from.
TEST_F(Crash, AStateThatIsMadeTheNewestHasNoJournalOfAnother) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->commit().ok());
  MemoryFile old;
  old.copy_from(backing_);
  const std::uint64_t generation = file->committed().generation;
  ASSERT_TRUE(file->write(kChunk, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->settle().ok());
  for (const char letter : {'c', 'd'}) {
    ASSERT_TRUE(file->write(0, ByteVector(kChunk, static_cast<std::uint8_t>(letter))).ok());
    ASSERT_TRUE(file->sync(true).ok());
  }
  const auto after = left();
  ASSERT_TRUE(has_journal(*after));
  after->backing.copy_from(old);
  ASSERT_TRUE(look_into(*after)->supersede(generation + 1).ok());
  EXPECT_FALSE(has_journal(*after));
  EXPECT_EQ(found(*after), ByteVector(kChunk, 'a'));
}

TEST_F(Crash, KilledAtAnyCallItIsInTheLastStateCommittedOrTheNext) {
  // Whatever the operation, whichever the call: the file is as the last commit left it, or as the
  // one under way will. What was synced is no more than that here, since the kernel loses nothing.
  const auto file = create();
  Chooser choose(7);
  ContentModel model;
  std::vector<ByteVector> allowed = {{}};
  const auto whole = [](const ContentModel& state) { return state.read(0, state.size()); };
  int checks = 0;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "pread" || call.what == "fstat" || call.what == "futimens") return 0;
    const ByteVector is = found(*left());
    EXPECT_NE(std::find(allowed.begin(), allowed.end(), is), allowed.end())
        << call.what << " at " << call.offset << ", size " << is.size();
    ++checks;
    return 0;
  };
  for (int i = 0; i < 60 && !HasFailure(); ++i) {
    SCOPED_TRACE(::testing::Message() << "operation " << i);
    const std::uint64_t size = model.size();
    switch (choose.below(7)) {
      case 0:
      case 1:
      case 2: {
        const std::uint64_t offset = choose.below(size + 2 * kChunk);
        const ByteVector data = choose.bytes(choose.between(1, 3 * kChunk));
        ASSERT_TRUE(file->write(offset, data).ok());
        model.write(offset, data);
        break;
      }
      case 3: {
        // Commits what was written before, too.
        const std::uint64_t to = choose.below(size + kChunk);
        model.truncate(to);
        allowed.push_back(whole(model));
        ASSERT_TRUE(file->truncate(to).ok());
        if (to < size) allowed = {whole(model)};
        break;
      }
      case 4: {
        const std::uint64_t offset = choose.below(size + 1);
        const std::uint64_t length = choose.between(1, 4 * kChunk);
        model.clear(offset, length);
        allowed.push_back(whole(model));
        ASSERT_TRUE(file->clear(offset, length, EncryptedFile::Room::kGivenBack).ok());
        ASSERT_TRUE(file->commit().ok());
        allowed = {whole(model)};
        break;
      }
      case 5:
        allowed.push_back(whole(model));
        ASSERT_TRUE(choose.one_in(2) ? file->commit().ok() : file->sync(choose.one_in(2)).ok());
        allowed = {whole(model)};
        break;
      default:
        allowed.push_back(whole(model));
        ASSERT_TRUE(file->settle().ok());
        allowed = {whole(model)};
    }
  }
  EXPECT_GT(checks, 150);
}

TEST_F(Crash, AJournalCutAnywhereIsTheStateBeforeOrAfter) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(2 * kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  ASSERT_TRUE(file->write(100, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->commit().ok());
  const ByteVector before(2 * kChunk, 'a');
  const ByteVector after = content(*file);
  const auto whole = std::filesystem::file_size(journal_path());
  for (std::uint64_t length = 0; length <= whole; length += length + 97 < whole ? 97 : 1) {
    const auto cut = left();
    std::filesystem::resize_file(cut->world.journals().file(keys_->file.hex()), length);
    ASSERT_EQ(found(*cut), length == whole ? after : before) << length << " of " << whole;
  }
}

TEST_F(Crash, AJournalThatWasAlteredIsNotBelieved) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const auto whole = std::filesystem::file_size(journal_path());
  Chooser choose(3);
  for (int i = 0; i < 200; ++i) {
    const auto altered = left();
    std::fstream journal(altered->world.journals().file(keys_->file.hex()),
                         std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(choose.below(whole));
    journal.seekg(at);
    const auto byte = static_cast<char>(journal.get() ^ (1 << choose.below(8)));
    journal.seekp(at);
    journal.put(byte);
    journal.close();
    // A version it does not know is another program's.
    auto opened = altered->world.open(altered->backing, keys_, real_syscalls(), kNothingKnown);
    if (!opened) {
      EXPECT_EQ(opened.error().code, Code::kUnknownVersion);
      continue;
    }
    ASSERT_EQ(content(**opened), ByteVector(kChunk, 'a')) << "byte " << at;
  }
}

TEST_F(Crash, AnotherFilesJournalIsNotBelieved) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  // Its own journal, under the id of another file that is in the same generation.
  const auto other_keys = world_.keys(Suite::kAes256Gcm, 2);
  const auto both = left();
  MemoryFile other_backing;
  {
    const auto other = both->world.create(other_backing, 12, other_keys);
    ASSERT_TRUE(other->write(0, ByteVector(kChunk, 'o')).ok());
    ASSERT_TRUE(other->sync(true).ok());
  }
  std::filesystem::rename(both->world.journals().file(keys_->file.hex()),
                          both->world.journals().file(other_keys->file.hex()));
  const auto opened = both->world.open(other_backing, other_keys, real_syscalls(), kNothingKnown);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(content(**opened), ByteVector(kChunk, 'o'));
}

TEST_F(Crash, AnOldJournalDoesNotBringBackAnOldState) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const auto old = left();
  ASSERT_TRUE(file->settle().ok());
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'c')).ok());
  ASSERT_TRUE(file->settle().ok());
  old->backing.copy_from(backing_);
  EXPECT_EQ(found(*old), ByteVector(kChunk, 'c'));
}

TEST_F(Crash, AHeaderThatCameWithoutItsDataIsDropped) {
  // The power went: the newer slot reached the disk, the chunk it counts on did not.
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const std::uint64_t synced = file->committed().generation;
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  ASSERT_TRUE(file->sync(true).ok());
  EXPECT_EQ(file->committed().generation, synced + 1);
  // As a second header for a longer file: the journal holds the leaf, the new chunk lies in place.
  ASSERT_TRUE(file->append(ByteVector(kChunk, 'b')).ok());
  ASSERT_TRUE(file->commit().ok());
  const auto lost = left();
  lost->backing.put(Geometry(12).chunk_offset(1), ByteVector(kChunk, 0));
  EXPECT_EQ(found(*lost), ByteVector(kChunk, 'a'));
  ASSERT_TRUE(recovery_.has_value());
  EXPECT_TRUE(recovery_->checked_whole);
  // Once it was synced it can't be for want of the disk that the chunk is wrong.
  ASSERT_TRUE(file->sync(true).ok());
  const auto damaged = left();
  damaged->backing.put(Geometry(12).chunk_offset(1), ByteVector(kChunk, 0));
  auto opened = damaged->world.open(damaged->backing, keys_, real_syscalls(), kNothingKnown);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->size(), 2 * kChunk);
  ByteVector out(kChunk);
  EXPECT_EQ((*opened)->read(kChunk, out).error().code, Code::kCorrupt);
}

TEST_F(Crash, ANewFileWhoseDataIsLostIsAsItWasMade) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(5 * kChunk, 'a')).ok());
  ASSERT_TRUE(file->commit().ok());
  const auto lost = left();
  lost->backing.put(Geometry(12).chunk_offset(3), ByteVector(kChunk, 0));
  EXPECT_EQ(found(*lost), ByteVector());
  EXPECT_EQ(recovery_->dropped, 1U);
  // On record it is damage.
  const auto damaged = left();
  damaged->backing.put(Geometry(12).chunk_offset(3), ByteVector(kChunk, 0));
  auto opened = damaged->world.open(damaged->backing, keys_);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->size(), 5 * kChunk);
}

TEST_F(Crash, WhatIsOnRecordIsNeverDropped) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const std::uint64_t recorded = file->committed().generation;
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  const auto damaged = left();
  damaged->backing.flip(Geometry(12).chunk_offset(0), 3);
  // Neither state is whole; the newer is shown, with its error.
  auto opened = damaged->world.open(damaged->backing, keys_, real_syscalls(),
                                    {.recorded = recorded, .noted = 0});
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE((*opened)->recovery()->damaged);
  EXPECT_EQ((*opened)->committed().generation, recorded + 1);
}

TEST_F(Crash, AReopenedFileSparesTheSlotThatIsOnTheDisk) {
  // Closed without a sync and opened again: the newest header may not be on the disk.
  ASSERT_TRUE(create()->sync(true).ok());
  auto file = *world_.open(backing_, keys_);
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const std::uint64_t recorded = file->committed().generation;
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  const std::uint64_t noted = file->committed().generation;
  file = *world_.open(backing_, keys_, real_syscalls(), {.recorded = recorded, .noted = noted});
  EXPECT_FALSE(file->recovery().has_value());
  const RawHeader before = *read_raw_header(backing_.open());
  ASSERT_TRUE(file->add_binding(test_binding(2)).ok());
  const RawHeader after = *read_raw_header(backing_.open());
  for (const unsigned slot : {0U, 1U}) {
    const auto header = decode_header(before.slots[slot]);
    EXPECT_EQ(header->generation == recorded, before.slots[slot] == after.slots[slot]);
  }
}

TEST_F(Crash, AReopenedFileThatWasSyncedSparesItsNewestHeader) {
  auto file = create();
  EXPECT_FALSE(file->committed().on_disk);
  ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const CommittedState synced = file->committed();
  EXPECT_TRUE(synced.on_disk);
  file = *world_.open(backing_, keys_, real_syscalls(),
                      {.noted = synced.generation, .noted_is_on_disk = true});
  EXPECT_TRUE(file->committed().on_disk);
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  EXPECT_FALSE(file->committed().on_disk);
  // Whatever becomes of what was written just now, what was synced is there.
  EXPECT_TRUE(has_slot(synced.generation));
}

TEST_F(Crash, WhatIsAboutToBeOnRecordIsNotWrittenOverBeforeItIsOnTheDisk) {
  auto file = create();
  ASSERT_TRUE(file->sync(true).ok());
  int syncs = 0;
  calls_.before = [&](const SystemCall& call) {
    syncs += static_cast<int>(call.what == "fdatasync" && backing_.is(call.fd));
    return 0;
  };
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  std::uint64_t held = file->committed().generation;
  file->hold_header();
  ASSERT_TRUE(file->add_binding(test_binding(2)).ok());
  EXPECT_EQ(syncs, 1) << "it had to be";
  EXPECT_TRUE(has_slot(held));
  ASSERT_TRUE(file->add_binding(test_binding(3)).ok());
  EXPECT_EQ(syncs, 1) << "the one before was promised to nobody";
  EXPECT_TRUE(has_slot(held));
  // The sync of the whole filesystem came first.
  held = file->committed().generation;
  file->hold_header();
  file->held_is_on_disk();
  ASSERT_TRUE(file->add_binding(test_binding(4)).ok());
  EXPECT_EQ(syncs, 1);
  EXPECT_TRUE(has_slot(held));
  // Closed meanwhile, and opened again.
  held = file->committed().generation;
  file = *world_.open(backing_, keys_, calls_, {.noted = held, .being_recorded = true});
  ASSERT_TRUE(file->add_binding(test_binding(5)).ok());
  EXPECT_EQ(syncs, 2);
  EXPECT_TRUE(has_slot(held));
}

TEST_F(Crash, AFileIsCutOnlyWhenItsShorterHeaderIsOnTheDisk) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(9 * kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  bool synced = false;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "pwrite" && call.offset < 8192) synced = false;
    if (call.what == "fdatasync" || call.what == "fsync") synced = true;
    if (call.what == "ftruncate" && backing_.is(call.fd)) {
      EXPECT_TRUE(synced);
    }
    return 0;
  };
  ASSERT_TRUE(file->truncate(kChunk + 10).ok());
  ASSERT_TRUE(file->truncate(0).ok());
  EXPECT_TRUE(synced);
}

TEST_F(Crash, AHoleIsWrittenOnlyWhenItsHeaderIsOnTheDisk) {
  const auto file = create();
  ASSERT_TRUE(file->write(0, ByteVector(9 * kChunk, 'a')).ok());
  ASSERT_TRUE(file->sync(true).ok());
  const Geometry geometry(12);
  bool synced = false;
  bool fails = false;
  int freed = 0;
  calls_.before = [&](const SystemCall& call) {
    if (!backing_.is(call.fd)) return 0;
    if (call.what == "pwrite" && call.offset < 8192) synced = false;
    if (call.what == "fdatasync" || call.what == "fsync") {
      if (fails) return EIO;
      synced = true;
    }
    const bool there =
        call.offset >= geometry.chunk_offset(2) && call.offset < geometry.chunk_offset(5);
    if (there && (call.what == "pwrite" || call.what == "fallocate")) {
      EXPECT_TRUE(synced) << call.what;
      ++freed;
    }
    return 0;
  };
  fails = true;
  EXPECT_EQ(
      file->clear(2 * kChunk, 3 * kChunk, EncryptedFile::Room::kGivenBack).error().errno_value,
      EIO);
  EXPECT_TRUE(file->unsettled()) << "it is left to be ended";
  EXPECT_EQ(file->write(2 * kChunk, ByteVector(kChunk, 'b')).error().errno_value, EIO);
  EXPECT_EQ(freed, 0);
  ByteVector right(9 * kChunk, 'a');
  std::fill_n(right.begin() + 2 * kChunk, 3 * kChunk, 0);
  EXPECT_EQ(content(*file), right);
  fails = false;
  ASSERT_TRUE(file->write(2 * kChunk, ByteVector(kChunk, 'b')).ok());
  EXPECT_EQ(freed, 1);
  ASSERT_TRUE(file->clear(3 * kChunk, kChunk, EncryptedFile::Room::kGivenBack).ok());
  EXPECT_EQ(freed, 1) << "it was a hole";
  ASSERT_TRUE(file->clear(2 * kChunk, kChunk, EncryptedFile::Room::kGivenBack).ok());
  EXPECT_EQ(freed, 2);
  EXPECT_EQ(found(*left()), right);
}

TEST_F(Crash, AFailureToApplyLeavesTheJournalForTheNextOpening) {
  ASSERT_TRUE(create()->sync(true).ok());
  {
    const auto file = *world_.open(backing_, keys_, calls_);
    ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'a')).ok());
    ASSERT_TRUE(file->sync(true).ok());
    ASSERT_TRUE(file->write(0, ByteVector(kChunk, 'b')).ok());
    ASSERT_TRUE(file->sync(true).ok());
    calls_.before = [&](const SystemCall& call) {
      return call.what == "pwrite" && call.offset >= 8192 && call.offset < 20'000 ? EIO : 0;
    };
    EXPECT_EQ(file->settle().error().errno_value, EIO);
    calls_.before = {};
    EXPECT_EQ(content(*file), ByteVector(kChunk, 'b'));
  }
  EXPECT_TRUE(has_journal());
  EXPECT_EQ(found(*left()), ByteVector(kChunk, 'b'));
}

}  // namespace
}  // namespace coffer
