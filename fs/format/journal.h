#pragma once

#include "fs/format/header.h"

namespace coffer {

/// The parts of a redo journal (fs/FORMAT.md, 7). Pure: no I/O, no keys.
inline constexpr std::size_t kJournalHeadSize = 64;
inline constexpr std::size_t kJournalRecordHeadSize = 16;
inline constexpr std::size_t kJournalCommitSize = 16 + kBlockSize + 32;
inline constexpr std::size_t kJournalMacOffset = kJournalCommitSize - 32;
/// The most that one record holds.
inline constexpr std::size_t kMaxJournalRecord = std::size_t{1} << 20U;

using JournalHeadBytes = std::array<std::uint8_t, kJournalHeadSize>;
using JournalRecordHead = std::array<std::uint8_t, kJournalRecordHeadSize>;
using JournalCommitBytes = std::array<std::uint8_t, kJournalCommitSize>;

/// Whose journal it is. `life` is drawn anew each time the journal begins from the front.
struct JournalHead {
  StoreId store;
  FileId file;
  KeyVersion dek_version;
  std::array<std::uint8_t, 16> life{};
};

void encode_journal_head(const JournalHead& head, JournalHeadBytes& out);
/// kUnknownVersion, kCorrupt.
Result<JournalHead> decode_journal_head(Bytes head);

enum class JournalKind : std::uint32_t { kChunks = 1, kNode = 2, kCommit = 3 };

/// What stands before the bytes of a record.
struct JournalRecord {
  JournalKind kind = JournalKind::kChunks;
  std::uint32_t length = 0;
  std::uint64_t place = 0;
};

void encode_journal_record(const JournalRecord& record, JournalRecordHead& out);
/// A record, or a commit, of which nothing is checked but its kind. kCorrupt if it is neither, or
/// its length or place are none that a record has. `head` is 16 bytes.
Result<JournalRecord> decode_journal_record(Bytes head);

/// Fills a commit but for its MAC.
void encode_journal_commit(const Block& slot, bool settled, JournalCommitBytes& out);
struct JournalCommit {
  bool settled = false;
  FileHeader header;
};
/// Its MAC is not looked at. kCorrupt, kUnknownVersion. `commit` is kJournalCommitSize long.
Result<JournalCommit> decode_journal_commit(Bytes commit);

}  // namespace coffer
