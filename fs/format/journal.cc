#include "fs/format/journal.h"

#include <algorithm>
#include <cerrno>

namespace coffer {
namespace {

constexpr std::string_view kMagic = "COFFER-J";
constexpr std::uint16_t kJournalVersion = 1;
constexpr std::uint32_t kSettled = 1;
constexpr std::size_t kSlotOffset = 16;
// Twice the largest file: chunks, and 1/128 of nodes at most.
constexpr std::uint64_t kPlaceEnd = 2 * kMaxPlainSize;

Error corrupt(const char* what) { return Error{Code::kCorrupt, EIO, what}; }

}  // namespace

void encode_journal_head(const JournalHead& head, JournalHeadBytes& out) {
  const ByteVector bytes = ByteWriter()
                               .text(kMagic)
                               .le(kJournalVersion)
                               .zeros(2)
                               .le(head.dek_version.value)
                               .bytes(head.store.view())
                               .bytes(head.file.view())
                               .bytes(head.life)
                               .take();
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

Result<JournalHead> decode_journal_head(Bytes head) {
  if (head.size() != kJournalHeadSize || as_text(head.first(kMagic.size())) != kMagic)
    return corrupt("this is no journal");
  if (load_le<std::uint16_t>(head, 8) != kJournalVersion) {
    return Error{Code::kUnknownVersion, EIO, "the file's journal is of a newer version"};
  }
  if (load_le<std::uint16_t>(head, 10) != 0) return corrupt("journal: reserved bytes are set");
  JournalHead decoded;
  decoded.dek_version = KeyVersion{load_le<std::uint32_t>(head, 12)};
  decoded.store = StoreId::from(head.subspan(16, 16));
  decoded.file = FileId::from(head.subspan(32, 16));
  std::copy_n(head.begin() + 48, decoded.life.size(), decoded.life.begin());
  return decoded;
}

void encode_journal_record(const JournalRecord& record, JournalRecordHead& out) {
  store_le(out, 0, static_cast<std::uint32_t>(record.kind));
  store_le(out, 4, record.length);
  store_le(out, 8, record.place);
}

Result<JournalRecord> decode_journal_record(Bytes head) {
  JournalRecord record;
  const auto kind = load_le<std::uint32_t>(head, 0);
  record.kind = static_cast<JournalKind>(kind);
  record.length = load_le<std::uint32_t>(head, 4);
  record.place = load_le<std::uint64_t>(head, 8);
  if (record.kind == JournalKind::kCommit) return record;
  if (kind < 1 || kind > 3) return corrupt("journal: a record of an unknown kind");
  const bool length_fits = record.kind == JournalKind::kNode
                               ? record.length == kBlockSize
                               : record.length >= 1 && record.length <= kMaxJournalRecord;
  const bool place_fits = record.place >= kBodyOffset && record.place < kPlaceEnd &&
                          (record.place - kBodyOffset) % kBlockSize == 0;
  if (!length_fits || !place_fits) return corrupt("journal: a record for no place of a file");
  return record;
}

void encode_journal_commit(const Block& slot, bool settled, JournalCommitBytes& out) {
  out.fill(0);
  store_le(out, 0, static_cast<std::uint32_t>(JournalKind::kCommit));
  store_le(out, 4, settled ? kSettled : 0U);
  std::copy(slot.begin(), slot.end(), out.begin() + kSlotOffset);
}

Result<JournalCommit> decode_journal_commit(Bytes commit) {
  const auto flags = load_le<std::uint32_t>(commit, 4);
  if (commit.size() != kJournalCommitSize ||
      load_le<std::uint32_t>(commit, 0) != static_cast<std::uint32_t>(JournalKind::kCommit) ||
      (flags & ~kSettled) != 0 || load_le<std::uint64_t>(commit, 8) != 0) {
    return corrupt("journal: a commit that is none");
  }
  auto header = decode_header(commit.subspan(kSlotOffset, kBlockSize));
  if (!header) {
    if (header.error().code == Code::kNotFound) return corrupt("journal: a commit of nothing");
    return std::move(header).error();
  }
  return JournalCommit{.settled = (flags & kSettled) != 0, .header = std::move(*header)};
}

}  // namespace coffer
