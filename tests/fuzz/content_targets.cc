#include "tests/fuzz/content_targets.h"

#include <algorithm>

#include "fs/content/journal.h"
#include "tests/fuzz/samples.h"

namespace coffer::fuzz {
namespace {

Block slot_of(std::uint64_t generation) {
  FileHeader header;
  header.suite = 1;
  header.chunk_log2 = 12;
  header.store = id_of<StoreId>(1);
  header.file = id_of<FileId>(2);
  header.dek_version = kDekVersion;
  header.scope = ScopeId{4};
  header.plain_size = 1 + generation % 5000;
  header.generation = generation;
  header.root.fill(5);
  header.commitment = keys_of(2)->commitment;
  header.bindings.emplace_back().fill(9);
  Block slot;
  encode_header(header, slot);
  return slot;
}

struct Journals {
  std::shared_ptr<const BackingDir> dir = open_directory(scratch_directory("journals"));
  std::unique_ptr<JournalDir> all;
  std::shared_ptr<const FileKeys> keys = keys_of(2);

  Journals() {
    auto opened = JournalDir::open(dir, true);
    require(opened.ok(), "journals can be opened");
    all = std::move(*opened);
  }

  /// What `write` makes of a new journal.
  template <typename Write>
  ByteVector written(std::uint8_t file, Write write) {
    Journal journal(*all, id_of<StoreId>(1), keys_of(file));
    write(journal);
    if (!journal.used()) return {};
    ByteVector content = content_of(journal.file());
    journal.remove();
    return content;
  }
};

Journals& journals() {
  static Journals made;
  return made;
}

void put_record(Journal& journal, JournalKind kind, std::uint64_t place, Bytes data) {
  require(journal.append(kind, place, data).ok(), "a record can be written");
}

void put_commit(Journal& journal, std::uint64_t generation, bool settled) {
  require(journal.commit(slot_of(generation), settled).ok(), "a commit can be written");
}

/// Three generations, as a file's life has them.
void write_life(Journal& journal) {
  put_record(journal, JournalKind::kChunks, kBodyOffset + kBlockSize, ByteVector(300, 1));
  put_record(journal, JournalKind::kNode, kBodyOffset, ByteVector(kBlockSize, 2));
  put_commit(journal, 40, false);
  put_commit(journal, 40, true);
  put_record(journal, JournalKind::kNode, kBodyOffset, ByteVector(kBlockSize, 3));
  put_commit(journal, 41, true);
  put_record(journal, JournalKind::kChunks, kBodyOffset + 3 * kBlockSize, ByteVector(5000, 4));
  put_commit(journal, 42, false);
}

/// Any records and commits in any order, under the right key.
void write_program(Journal& journal, Input& input) {
  // The head is written with the first record alone.
  put_record(journal, JournalKind::kChunks, kBodyOffset, ByteVector(1, 1));
  for (int steps = 0; steps < 12 && !input.empty(); ++steps) {
    const std::uint8_t what = input.byte();
    if (what % 3 == 0) {
      put_commit(journal, input.byte(), (what & 8) != 0);
      continue;
    }
    const auto kind =
        (what & 16) != 0 ? static_cast<JournalKind>(what >> 5U) : JournalKind::kChunks;
    const std::uint64_t place =
        (what & 8) != 0 ? input.number<std::uint64_t>() : kBodyOffset + input.byte() * kBlockSize;
    const std::size_t length = what % 3 == 1 ? kBlockSize : input.number<std::uint16_t>();
    put_record(journal, kind, place, ByteVector(length, what));
  }
}

void check_pieces(const JournalContent& content, std::uint64_t length) {
  for (const auto& piece : content.pieces) {
    require(piece.kind == JournalKind::kChunks || piece.kind == JournalKind::kNode,
            "a piece is chunks or a node");
    require(piece.at <= length && piece.length <= length - piece.at,
            "a piece's bytes are in the journal");
    require(piece.place >= kBodyOffset && piece.place % kBlockSize == 0 &&
                piece.place < 2 * kMaxPlainSize,
            "a piece is for a place of a file");
    require(piece.kind == JournalKind::kNode
                ? piece.length == kBlockSize
                : piece.length >= 1 && piece.length <= kMaxJournalRecord,
            "a piece has a length that there is");
  }
}

void check_states(const JournalContent& content) {
  const auto& states = content.states;
  require(content.pieces.size() == (states.empty() ? 0 : states.back().pieces),
          "no piece without a commit that has it");
  for (std::size_t i = 1; i < states.size(); ++i) {
    require(states[i].header.generation == states[i - 1].header.generation + 1,
            "generations rise by one");
    require(states[i].pieces >= states[i - 1].pieces, "a state has what the one before it has");
    require(states[i - 1].settled || !states[i].settled, "what a settled one counts on is settled");
  }
}

JournalContent read_back(Bytes journal) {
  const std::string path = scratch_directory("journal") + "/left";
  put_file(path, journal);
  const auto file = open_directory(scratch_directory("journal"))->open_file("left", false);
  require(file.ok(), "the journal can be opened");
  auto content = read_journal(*file, *journals().keys, id_of<StoreId>(1));
  require_code(content, {Code::kUnknownVersion}, "a journal");
  if (!content) return {};
  check_pieces(*content, journal.size());
  check_states(*content);
  return *std::move(content);
}

}  // namespace

/// The parts by themselves, of which no key says that they are good.
int fuzz_journal_parts(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  const auto head = decode_journal_head(bytes);
  require_code(head, {Code::kUnknownVersion, Code::kCorrupt}, "a journal's head");
  if (head) {
    JournalHeadBytes again;
    encode_journal_head(*head, again);
    require(equal(again, bytes), "a journal's head has one encoding");
  }
  if (size >= kJournalRecordHeadSize) {
    const Bytes front = bytes.first(kJournalRecordHeadSize);
    const auto record = decode_journal_record(front);
    require_code(record, {Code::kCorrupt}, "a journal's record");
    if (record) {
      JournalRecordHead again;
      encode_journal_record(*record, again);
      require(equal(again, front), "a journal's record has one encoding");
    }
  }
  if (size < kJournalCommitSize) return 0;
  const Bytes front = bytes.first(kJournalCommitSize);
  const auto commit = decode_journal_commit(front);
  require_code(commit, {Code::kUnknownVersion, Code::kCorrupt}, "a journal's commit");
  if (!commit) return 0;
  Block slot;
  encode_header(commit->header, slot);
  JournalCommitBytes again;
  encode_journal_commit(slot, commit->settled, again);
  constexpr std::size_t kUnsigned = 16 + kHeaderMacOffset;
  require(equal(Bytes(again).first(kUnsigned), front.first(kUnsigned)),
          "a journal's commit has one encoding");
  return 0;
}

std::vector<ByteVector> journal_parts_seeds() {
  const ByteVector life = journals().written(2, write_life);
  const auto part = [&](std::size_t at, std::size_t length) {
    return ByteVector(life.begin() + static_cast<std::ptrdiff_t>(at),
                      life.begin() + static_cast<std::ptrdiff_t>(at + length));
  };
  const std::size_t node = kJournalHeadSize + kJournalRecordHeadSize + 300;
  const std::size_t commit = node + kJournalRecordHeadSize + kBlockSize;
  return {part(0, kJournalHeadSize), part(kJournalHeadSize, kJournalRecordHeadSize),
          part(node, kJournalRecordHeadSize), part(commit, kJournalCommitSize),
          part(commit + kJournalCommitSize, kJournalCommitSize)};
}

/// First byte: a journal of three generations, altered; one that is written, under its key, as the
/// input says; or the input itself.
int fuzz_journal(const std::uint8_t* data, std::size_t size) {
  static const ByteVector life = journals().written(2, write_life);
  static const ByteVector foreign = journals().written(3, write_life);
  Input input(data, size);
  const std::uint8_t what = input.byte();
  if (what % 3 == 0) {
    const ByteVector bytes = altered(life, input, foreign);
    const JournalContent content = read_back(bytes);
    require(content.states.size() <= 3, "nothing in an altered journal that was not written");
    for (std::size_t i = 0; i < content.states.size(); ++i) {
      Block slot;
      encode_header(content.states[i].header, slot);
      require(equal(slot, slot_of(40 + i)), "a state that authenticates is one that was written");
      require(content.states[i].pieces == ByteVector{2, 3, 4}[i], "with what was written for it");
    }
    for (const auto& piece : content.pieces) {
      require(equal(Bytes(bytes).subspan(piece.at, piece.length),
                    Bytes(life).subspan(piece.at, piece.length)),
              "a piece is what was written");
    }
    require(bytes != life || content.states.size() == 3, "a journal that is whole is read whole");
  } else if (what % 3 == 1) {
    read_back(journals().written(2, [&](Journal& journal) { write_program(journal, input); }));
  } else {
    read_back(input.rest());
  }
  return 0;
}

std::vector<ByteVector> journal_seeds() {
  std::vector<ByteVector> seeds = {{0},
                                   {0, 1, 0, 80, 16, 0, 0, 9, 0, 0, 0, 1},
                                   {0, 1, 7, 0, 0, 0, 0, 64, 0, 0, 0},
                                   {1, 4, 0, 7, 2, 40, 0, 41, 8, 41, 0, 43},
                                   {1, 16, 0, 255, 255, 2, 3, 0, 2, 3, 9, 8, 9}};
  ByteVector raw = journals().written(2, write_life);
  raw.insert(raw.begin(), 2);
  seeds.push_back(std::move(raw));
  return seeds;
}

}  // namespace coffer::fuzz
