#include "fs/content/header_slots.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/support/fs_content.h"

namespace coffer {
namespace {

using testing::ContentWorld;
using testing::MemoryFile;
using testing::test_binding;

class HeaderSlotsTest : public ::testing::Test {
 protected:
  [[nodiscard]] FileHeader fresh() const {
    FileHeader header;
    header.suite = static_cast<std::uint16_t>(keys_->suite);
    header.chunk_log2 = 14;
    header.store = world_.store();
    header.file = keys_->file;
    header.dek_version = keys_->dek_version;
    header.scope = keys_->scope;
    header.commitment = keys_->commitment;
    header.bindings = {test_binding()};
    return header;
  }
  [[nodiscard]] RawHeader raw() const { return *read_raw_header(file_.open()); }
  [[nodiscard]] Result<HeaderSlots> open() const {
    return HeaderSlots::open(raw(), *keys_, world_.store());
  }
  void commit(HeaderSlots& slots, std::uint64_t size) const {
    FileHeader next = slots.current();
    next.plain_size = size;
    ASSERT_TRUE(slots.commit(file_.open(), *keys_, next).ok());
  }
  /// The generation each slot holds; 0 where there is none.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> generations() const {
    const RawHeader slots = raw();
    const auto first = decode_header(slots.slots[0]);
    const auto second = decode_header(slots.slots[1]);
    return {first ? first->generation : 0, second ? second->generation : 0};
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile file_;
};

using Generations = std::pair<std::uint64_t, std::uint64_t>;

TEST_F(HeaderSlotsTest, ANewFileIsTwoSlots) {
  auto slots = HeaderSlots::create(file_.open(), *keys_, fresh());
  ASSERT_TRUE(slots.ok());
  EXPECT_EQ(file_.size(), 8192U);
  EXPECT_EQ(generations(), Generations(1, 0));
  const auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  EXPECT_EQ(opened->current().generation, 1U);
  EXPECT_EQ(opened->current().bindings, fresh().bindings);
}

TEST_F(HeaderSlotsTest, TheNewerSlotCounts) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  for (std::uint64_t size = 1; size <= 6; ++size) {
    commit(slots, size);
    slots.mark_durable();
    EXPECT_EQ(slots.current().generation, size + 1);
    const auto opened = open();
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened->current().plain_size, size);
    EXPECT_EQ(opened->current().generation, size + 1);
    const auto peeked = peek_header(raw());
    ASSERT_TRUE(peeked.ok());
    EXPECT_EQ(peeked->generation, size + 1);
  }
  EXPECT_EQ(generations(), Generations(7, 6));
}

TEST_F(HeaderSlotsTest, CommitsSpareTheDurableSlot) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  for (std::uint64_t size = 1; size <= 5; ++size) commit(slots, size);
  EXPECT_EQ(generations(), Generations(1, 6)) << "the first header counts as durable";
  slots.mark_durable();
  for (std::uint64_t size = 6; size <= 9; ++size) commit(slots, size);
  EXPECT_EQ(generations(), Generations(10, 6));
  slots.mark_durable();
  commit(slots, 10);
  EXPECT_EQ(generations(), Generations(10, 11));
}

TEST_F(HeaderSlotsTest, AfterOpeningTheNewestSlotIsSpared) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 1);
  auto opened = *open();
  commit(opened, 2);
  commit(opened, 3);
  EXPECT_EQ(generations(), Generations(4, 2));
  EXPECT_EQ(open()->current().plain_size, 3U);
}

TEST_F(HeaderSlotsTest, AFailedCommitChangesNothing) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 1);
  const BackingFile read_only(real_syscalls(), UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
                              false);
  FileHeader next = slots.current();
  next.plain_size = 77;
  EXPECT_FALSE(slots.commit(read_only, *keys_, next).ok());
  EXPECT_EQ(slots.current().plain_size, 1U);
  EXPECT_EQ(slots.current().generation, 2U);
  commit(slots, 2);
  EXPECT_EQ(generations(), Generations(1, 3));
}

TEST_F(HeaderSlotsTest, EveryPartOfTheKeyMatters) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 5);
  const auto code_with = [&](const std::shared_ptr<const FileKeys>& keys, StoreId store) {
    const auto opened = HeaderSlots::open(raw(), *keys, store);
    EXPECT_FALSE(opened.ok());
    return opened ? Code::kIo : opened.error().code;
  };
  const auto derive = [&](Suite suite, std::uint8_t dek, FileId file, std::uint32_t version,
                          std::uint32_t scope) {
    SecretBytes key(32);
    testing::Chooser(1).fill(key.expose());
    key.expose()[31] ^= dek;
    return FileKeys::derive(world_.engine(), suite, key, file, KeyVersion{version}, ScopeId{scope});
  };
  FileId other_file = keys_->file;
  other_file.bytes[15] ^= 1;
  StoreId other_store = world_.store();
  other_store.bytes[0] ^= 1;
  constexpr Suite kAes = Suite::kAes256Gcm;
  ASSERT_TRUE(HeaderSlots::open(raw(), *derive(kAes, 0, keys_->file, 3, 1), world_.store()).ok());
  EXPECT_EQ(code_with(derive(kAes, 1, keys_->file, 3, 1), world_.store()), Code::kCorrupt);
  EXPECT_EQ(code_with(derive(kAes, 0, other_file, 3, 1), world_.store()), Code::kCorrupt);
  EXPECT_EQ(code_with(derive(kAes, 0, keys_->file, 4, 1), world_.store()), Code::kCorrupt);
  EXPECT_EQ(code_with(derive(kAes, 0, keys_->file, 3, 2), world_.store()), Code::kCorrupt);
  EXPECT_EQ(code_with(derive(Suite::kChaCha20Poly1305, 0, keys_->file, 3, 1), world_.store()),
            Code::kCorrupt);
  EXPECT_EQ(code_with(keys_, other_store), Code::kCorrupt);
}

TEST_F(HeaderSlotsTest, KeysOfOneDekDifferByPurposeFileVersionAndSuite) {
  const auto other = world_.keys(Suite::kChaCha20Poly1305);
  EXPECT_EQ(keys_->commitment, other->commitment) << "one commitment a DEK and file";
  EXPECT_NE(keys_->commitment, world_.keys(Suite::kAes256Gcm, 2)->commitment);
  EXPECT_EQ(keys_->header.mac(ByteVector(10)), other->header.mac(ByteVector(10)));
}

TEST_F(HeaderSlotsTest, SlotsOfAnotherFileOfTheStoreAreRefused) {
  // Also if that file's key were the same: nothing but the ids would differ.
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 5);
  const MemoryFile theirs;
  const auto their_keys = world_.keys(Suite::kAes256Gcm, 2);
  FileHeader header = fresh();
  header.file = their_keys->file;
  header.commitment = their_keys->commitment;
  ASSERT_TRUE(HeaderSlots::create(theirs.open(), *their_keys, header).ok());
  file_.put(0, theirs.bytes(0, 8192));
  EXPECT_EQ(open().error().code, Code::kCorrupt);
}

TEST_F(HeaderSlotsTest, AFileTooShortForTwoSlotsIsCorrupt) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  for (const std::uint64_t size : {0U, 1U, 4095U, 4096U, 8191U}) {
    const MemoryFile cut;
    cut.copy_from(file_);
    cut.resize(size);
    const auto read = read_raw_header(cut.open());
    ASSERT_FALSE(read.ok()) << size;
    EXPECT_EQ(read.error().code, Code::kCorrupt);
  }
}

TEST_F(HeaderSlotsTest, ReadingReportsTheDisksErrors) {
  const BackingFile no_file(real_syscalls(), UniqueFd(), false);
  EXPECT_EQ(read_raw_header(no_file).error().errno_value, EBADF);
}

TEST_F(HeaderSlotsTest, TwoEmptySlotsAreACorruptFile) {
  file_.resize(8192);
  EXPECT_EQ(peek_header(raw()).error().code, Code::kCorrupt);
  EXPECT_EQ(open().error().code, Code::kCorrupt);
}

TEST_F(HeaderSlotsTest, PeekingTakesTheSlotThatCanBeRead) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 9);
  RawHeader damaged = raw();
  damaged.slots[1][0] ^= 1;
  EXPECT_EQ(peek_header(damaged)->generation, 1U);
  damaged = raw();
  damaged.slots[0][13] = 1;
  EXPECT_EQ(peek_header(damaged)->generation, 2U);
  damaged.slots[1][13] = 1;
  EXPECT_EQ(peek_header(damaged).error().code, Code::kCorrupt);
}

TEST_F(HeaderSlotsTest, ANewerFormatIsNamedAsSuch) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 9);
  RawHeader newer = raw();
  newer.slots[0][8] = 2;
  newer.slots[1][8] = 2;
  EXPECT_EQ(peek_header(newer).error().code, Code::kUnknownVersion);
  EXPECT_EQ(HeaderSlots::open(newer, *keys_, world_.store()).error().code, Code::kUnknownVersion);
  // Beside an empty slot, and a damaged one.
  newer.slots[0].fill(0);
  EXPECT_EQ(peek_header(newer).error().code, Code::kUnknownVersion);
  newer.slots[0].fill(1);
  EXPECT_EQ(peek_header(newer).error().code, Code::kUnknownVersion);
  std::swap(newer.slots[0], newer.slots[1]);
  EXPECT_EQ(peek_header(newer).error().code, Code::kUnknownVersion);
}

TEST_F(HeaderSlotsTest, EverySingleBitOfBothSlotsIsVouchedFor) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 9);
  const RawHeader whole = raw();
  for (std::size_t slot = 0; slot < 2; ++slot) {
    // Each bit of one slot by itself, and some beside the other slot, which is what is left then.
    for (std::size_t bit = 0; bit < 4096 * 8; bit += slot == 0 ? 1 : 11) {
      RawHeader damaged = whole;
      damaged.slots[slot][bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
      if (bit % 11 == 0) {
        const auto opened = HeaderSlots::open(damaged, *keys_, world_.store());
        ASSERT_TRUE(opened.ok()) << "slot " << slot << " bit " << bit;
        ASSERT_EQ(opened->current().generation, slot == 0 ? 2U : 1U);
      }
      damaged.slots[1 - slot].fill(0);
      ASSERT_FALSE(HeaderSlots::open(damaged, *keys_, world_.store()).ok())
          << "slot " << slot << " bit " << bit;
    }
  }
}

TEST_F(HeaderSlotsTest, SlotsSwappedOrDoubledStillOpenAsTheNewest) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  commit(slots, 9);
  RawHeader moved = raw();
  std::swap(moved.slots[0], moved.slots[1]);
  EXPECT_EQ(HeaderSlots::open(moved, *keys_, world_.store())->current().generation, 2U);
  moved.slots[1] = moved.slots[0];
  EXPECT_EQ(HeaderSlots::open(moved, *keys_, world_.store())->current().generation, 2U);
}

/// A write of a slot that was cut by a power failure: each of its eight sectors is old or new.
TEST_F(HeaderSlotsTest, ATornSlotOpensAsTheOldOrTheNewState) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  // So many bindings that no sector of the old and new slot is alike.
  FileHeader next = slots.current();
  std::uint64_t size = 10;
  for (const bool second_round : {false, true}) {
    for (int commits = 0; commits < 2; ++commits) {
      next.bindings.clear();
      for (unsigned i = 0; i < 238; ++i) {
        next.bindings.push_back(test_binding(static_cast<unsigned>(size) * 1000 + i));
      }
      next.plain_size = size++;
      ASSERT_TRUE(slots.commit(file_.open(), *keys_, next).ok());
      slots.mark_durable();
    }
    const RawHeader before = raw();
    const std::uint64_t old_generation = slots.current().generation;
    next.plain_size = size++;
    for (Binding& binding : next.bindings) binding[0] ^= 0x55;
    ASSERT_TRUE(slots.commit(file_.open(), *keys_, next).ok());
    const RawHeader after = raw();
    const std::size_t target = before.slots[0] == after.slots[0] ? 1 : 0;
    ASSERT_EQ(target, second_round ? 0U : 1U);
    ASSERT_EQ(before.slots[1 - target], after.slots[1 - target]) << "one slot a commit";
    for (unsigned mix = 0; mix < 256; ++mix) {
      RawHeader torn = before;
      for (std::size_t sector = 0; sector < 8; ++sector) {
        if ((mix >> sector & 1U) == 0) continue;
        const auto at = static_cast<std::ptrdiff_t>(sector * 512);
        std::copy_n(after.slots[target].begin() + at, 512, torn.slots[target].begin() + at);
      }
      const auto opened = HeaderSlots::open(torn, *keys_, world_.store());
      ASSERT_TRUE(opened.ok()) << "mix " << mix;
      ASSERT_EQ(opened->current().generation, mix == 255 ? old_generation + 1 : old_generation)
          << "mix " << mix;
      ASSERT_TRUE(peek_header(torn).ok());
      ASSERT_EQ(peek_header(torn)->file, keys_->file);
    }
    slots.mark_durable();
  }
}

TEST_F(HeaderSlotsTest, ASlotTornWhileItWasFirstWrittenLeavesTheOther) {
  auto slots = *HeaderSlots::create(file_.open(), *keys_, fresh());
  const RawHeader before = raw();
  commit(slots, 3);
  const RawHeader after = raw();
  for (std::size_t cut = 0; cut <= 4096; cut += 8) {
    RawHeader torn = before;
    std::copy_n(after.slots[1].begin(), cut, torn.slots[1].begin());
    const auto opened = HeaderSlots::open(torn, *keys_, world_.store());
    ASSERT_TRUE(opened.ok()) << cut;
    ASSERT_EQ(opened->current().plain_size, cut == 4096 ? 3U : 0U) << cut;
  }
}

}  // namespace
}  // namespace coffer
