#include "fs/format/journal.h"

#include <gtest/gtest.h>

#include <limits>

namespace coffer {
namespace {

JournalHead some_head() {
  JournalHead head;
  head.store.bytes.fill(1);
  head.file.bytes.fill(2);
  head.dek_version = KeyVersion{0x01020304};
  head.life.fill(3);
  return head;
}

TEST(JournalHead, IsAsTheFormatSays) {
  JournalHeadBytes bytes;
  encode_journal_head(some_head(), bytes);
  const ByteVector expected = ByteWriter()
                                  .text("COFFER-J")
                                  .le(std::uint16_t{1})
                                  .zeros(2)
                                  .le(std::uint32_t{0x01020304})
                                  .bytes(ByteVector(16, 1))
                                  .bytes(ByteVector(16, 2))
                                  .bytes(ByteVector(16, 3))
                                  .take();
  EXPECT_EQ(to_hex(bytes), to_hex(expected));
  const auto decoded = decode_journal_head(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->store, some_head().store);
  EXPECT_EQ(decoded->file, some_head().file);
  EXPECT_EQ(decoded->dek_version, some_head().dek_version);
  EXPECT_EQ(decoded->life, some_head().life);
}

TEST(JournalHead, RefusesWhatItIsNot) {
  JournalHeadBytes bytes;
  encode_journal_head(some_head(), bytes);
  for (const std::size_t at : {0U, 7U, 10U, 11U}) {
    JournalHeadBytes altered = bytes;
    altered[at] ^= 1;
    EXPECT_EQ(decode_journal_head(altered).error().code, Code::kCorrupt) << at;
  }
  JournalHeadBytes newer = bytes;
  newer[8] = 2;
  EXPECT_EQ(decode_journal_head(newer).error().code, Code::kUnknownVersion);
  EXPECT_EQ(decode_journal_head(Bytes(bytes).first(63)).error().code, Code::kCorrupt);
}

Result<JournalRecord> decoded(std::uint32_t kind, std::uint32_t length, std::uint64_t place) {
  JournalRecordHead head;
  encode_journal_record({.kind = static_cast<JournalKind>(kind), .length = length, .place = place},
                        head);
  EXPECT_EQ(to_hex(head), to_hex(ByteWriter().le(kind).le(length).le(place).data()));
  return decode_journal_record(head);
}

TEST(JournalRecord, IsForAPlaceOfAFile) {
  EXPECT_TRUE(decoded(1, 1, 12'288).ok());
  EXPECT_TRUE(decoded(1, 1U << 20U, 12'288).ok());
  EXPECT_TRUE(decoded(2, 4096, 8192).ok());
  EXPECT_TRUE(decoded(3, 0, 0).ok()) << "a commit is checked elsewhere";

  EXPECT_FALSE(decoded(0, 4096, 8192).ok());
  EXPECT_FALSE(decoded(4, 4096, 8192).ok());
  EXPECT_FALSE(decoded(1, 0, 8192).ok());
  EXPECT_FALSE(decoded(1, (1U << 20U) + 1, 8192).ok());
  EXPECT_FALSE(decoded(2, 4095, 8192).ok());
  EXPECT_FALSE(decoded(2, 8192, 8192).ok());
  EXPECT_FALSE(decoded(1, 4096, 4096).ok()) << "the header slots are no place";
  EXPECT_FALSE(decoded(1, 4096, 8193).ok());
  EXPECT_FALSE(decoded(1, 4096, std::numeric_limits<std::uint64_t>::max() - 4095).ok());
}

Block some_slot() {
  FileHeader header;
  header.suite = 1;
  header.chunk_log2 = 12;
  header.generation = 7;
  header.plain_size = 99;
  Block slot;
  encode_header(header, slot);
  return slot;
}

TEST(JournalCommit, CarriesAHeader) {
  for (const bool settled : {false, true}) {
    JournalCommitBytes bytes;
    encode_journal_commit(some_slot(), settled, bytes);
    const auto commit = decode_journal_commit(bytes);
    ASSERT_TRUE(commit.ok());
    EXPECT_EQ(commit->settled, settled);
    EXPECT_EQ(commit->header.generation, 7U);
    EXPECT_EQ(commit->header.plain_size, 99U);
  }
}

TEST(JournalCommit, RefusesWhatItIsNot) {
  JournalCommitBytes bytes;
  encode_journal_commit(some_slot(), true, bytes);
  for (const std::size_t at : {0U, 5U, 8U, 15U, 16U}) {
    JournalCommitBytes altered = bytes;
    altered[at] ^= 0x10;
    EXPECT_FALSE(decode_journal_commit(altered).ok()) << at;
  }
  JournalCommitBytes empty;
  encode_journal_commit(Block{}, true, empty);
  EXPECT_EQ(decode_journal_commit(empty).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace coffer
