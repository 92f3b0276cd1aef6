#include "tests/fuzz/format_targets.h"

#include <algorithm>

#include "fs/content/header_slots.h"
#include "fs/format/tree_node.h"
#include "tests/fuzz/samples.h"

namespace coffer::fuzz {
namespace {

FileHeader sample_header(std::uint64_t generation, std::size_t bindings) {
  FileHeader header;
  header.suite = 1;
  header.chunk_log2 = 14;
  header.store = id_of<StoreId>(1);
  header.file = id_of<FileId>(2);
  header.dek_version = KeyVersion{3};
  header.scope = ScopeId{4};
  header.plain_size = 1'000'000 + generation;
  header.generation = generation;
  header.root.fill(5);
  header.commitment.fill(6);
  if (generation > 1) header.xattrs.fill(7);
  for (std::size_t i = 0; i < bindings; ++i) {
    header.bindings.emplace_back().fill(static_cast<std::uint8_t>(i + 1));
  }
  return header;
}

ByteVector encoded(const FileHeader& header) {
  Block slot;
  encode_header(header, slot);
  return {slot.begin(), slot.end()};
}

bool equal_headers(const FileHeader& a, const FileHeader& b) {
  return a.suite == b.suite && a.chunk_log2 == b.chunk_log2 && a.store == b.store &&
         a.file == b.file && a.dek_version == b.dek_version && a.scope == b.scope &&
         a.plain_size == b.plain_size && a.generation == b.generation && a.root == b.root &&
         a.commitment == b.commitment && a.xattrs == b.xattrs && a.bindings == b.bindings;
}

/// Two states of one file, sealed in the two slots, and another file's slot to take parts of.
struct SealedSlots {
  std::shared_ptr<const FileKeys> keys;
  FileHeader states[2];
  ByteVector slots;
  ByteVector foreign;

  SealedSlots() {
    keys = keys_of(2);
    const auto other = keys_of(8);
    for (std::size_t i = 0; i < 2; ++i) {
      states[i] = sample_header(40 + i, 1 + 2 * i);
      states[i].commitment = keys->commitment;
      append(slots, states[i], *keys);
      FileHeader header = states[i];
      header.file = other->file;
      header.commitment = other->commitment;
      append(foreign, header, *other);
    }
  }
  static void append(ByteVector& out, const FileHeader& header, const FileKeys& keys) {
    ByteVector slot = encoded(header);
    const Digest mac = keys.header.mac(Bytes(slot).first(kHeaderMacOffset));
    std::copy(mac.begin(), mac.end(), slot.begin() + kHeaderMacOffset);
    out.insert(out.end(), slot.begin(), slot.end());
  }
};

ByteVector encoded(const DirectoryRecord& record) {
  DirectoryBlock block;
  encode_directory(record, block);
  return {block.begin(), block.end()};
}

}  // namespace

int fuzz_header(const std::uint8_t* data, std::size_t size) {
  const Bytes slot(data, size);
  const auto header = decode_header(slot);
  require_code(header, {Code::kNotFound, Code::kUnknownVersion, Code::kCorrupt}, "a header slot");
  if (header) {
    const ByteVector again = encoded(*header);
    require(equal(Bytes(again).first(kHeaderMacOffset), slot.first(kHeaderMacOffset)),
            "a header has one encoding");
    return 0;
  }
  const bool empty = size == kBlockSize && all_zero(slot);
  require((header.error().code == Code::kNotFound) == empty,
          "a slot is empty if all of it is zero, and only then");
  return 0;
}

std::vector<ByteVector> header_seeds() {
  return {encoded(sample_header(1, 0)), encoded(sample_header(2, 1)),
          encoded(sample_header(1000, kMaxFileBindings)), ByteVector(kBlockSize), ByteVector(100)};
}

int fuzz_header_slots(const std::uint8_t* data, std::size_t size) {
  static const SealedSlots sealed;
  Input input(data, size);
  ByteVector bytes = altered(sealed.slots, input, sealed.foreign);
  bytes.resize(sealed.slots.size());
  RawHeader raw;
  for (std::size_t i = 0; i < 2; ++i) {
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(i * kBlockSize), kBlockSize,
                raw.slots[i].begin());
  }
  const auto peeked = peek_header(raw);
  require_code(peeked, {Code::kUnknownVersion, Code::kCorrupt},
               "a pair of slots, unauthenticated,");
  const auto opened = HeaderSlots::open(raw, *sealed.keys, sealed.states[0].store);
  require_code(opened, {Code::kUnknownVersion, Code::kCorrupt}, "a pair of slots");
  if (!opened) return 0;
  const FileHeader& current = opened->current();
  require(equal_headers(current, sealed.states[0]) || equal_headers(current, sealed.states[1]),
          "a header that authenticates is one that was written");
  const bool newest_is_whole =
      equal(Bytes(bytes).last(kBlockSize), Bytes(sealed.slots).last(kBlockSize));
  require(!newest_is_whole || current.generation == sealed.states[1].generation,
          "the newest whole header is the current one");
  return 0;
}

std::vector<ByteVector> header_slots_seeds() {
  return {{0}, {1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 3}, {1, 7, 0, 16, 0, 0, 0, 16, 0, 0}, {1, 6}};
}

int fuzz_tree_node(const std::uint8_t* data, std::size_t size) {
  Block node{};
  std::copy_n(data, std::min(size, node.size()), node.begin());
  for (unsigned slot = 0; slot < kFanOut; ++slot) {
    const Bytes entry = node_entry(std::as_const(node), slot);
    const auto decoded = decode_leaf_entry(entry);
    require_code(decoded, {Code::kCorrupt}, "a leaf entry");
    if (!decoded) continue;
    std::array<std::uint8_t, kEntrySize> again;
    encode_leaf_entry(*decoded, again);
    require(equal(again, entry), "a leaf entry has one encoding");
    require(decoded->is_hole == all_zero(entry), "an entry of zeros is a hole, and no other");
  }
  return 0;
}

std::vector<ByteVector> tree_node_seeds() {
  ByteVector node(kBlockSize);
  for (unsigned slot = 0; slot < kFanOut; slot += 3) {
    LeafEntry entry{.nonce = {}, .tag = {}, .is_hole = false};
    entry.nonce.fill(static_cast<std::uint8_t>(slot));
    encode_leaf_entry(entry, MutableBytes(node).subspan(slot * kEntrySize, kEntrySize));
  }
  return {node, ByteVector(kBlockSize), ByteVector(node.begin(), node.begin() + 64)};
}

int fuzz_directory_record(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  const auto record = decode_directory(bytes);
  require_code(record, {Code::kUnknownVersion, Code::kCorrupt}, "a directory record");
  if (!record) return 0;
  require(
      equal(Bytes(encoded(*record)).first(kDirectoryMacOffset), bytes.first(kDirectoryMacOffset)),
      "a directory record has one encoding");
  return 0;
}

std::vector<ByteVector> directory_record_seeds() {
  DirectoryRecord record{.scope = ScopeId{1},
                         .store = id_of<StoreId>(1),
                         .dir = id_of<DirId>(2),
                         .generation = 1,
                         .bindings = {Binding{1}}};
  std::vector<ByteVector> seeds = {encoded(record)};
  record.bindings.assign(kMaxDirectoryBindings, Binding{9});
  record.generation = UINT64_MAX;
  record.xattrs.fill(7);
  seeds.push_back(encoded(record));
  return seeds;
}

int fuzz_geometry(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const Geometry geometry(kMinChunkLog2 + input.byte() % (kMaxChunkLog2 - kMinChunkLog2 + 1));
  const auto backing = input.number<std::uint64_t>();
  if (const auto plain = geometry.plain_size(backing)) {
    require(*plain <= kMaxPlainSize, "no size above the largest");
    require(geometry.backing_size(*plain) == backing, "the plain size is that of the backing");
  }
  const std::uint64_t plain = input.number<std::uint64_t>() % (kMaxPlainSize + 1);
  const std::uint64_t of_plain = geometry.backing_size(plain);
  require(geometry.plain_size(of_plain) == plain, "every size can be told from its backing");
  require(plain == 0 || geometry.backing_size(plain - 1) < of_plain, "the backing grows");
  if (plain == 0) return 0;
  const std::uint64_t chunk = geometry.chunk_of(plain - 1);
  require(geometry.chunk_offset(chunk) + geometry.chunk_length(chunk, plain) == of_plain,
          "the last chunk ends the backing");
  const std::uint64_t leaf = geometry.node_offset(Geometry::leaf_of(chunk));
  require(leaf + kBlockSize <= geometry.chunk_offset(chunk), "a leaf stands before its chunks");
  return 0;
}

std::vector<ByteVector> geometry_seeds() {
  std::vector<ByteVector> seeds;
  for (const std::uint64_t plain : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4096},
                                    std::uint64_t{128} * 4096 + 1, kMaxPlainSize}) {
    for (const std::uint8_t log2 : ByteVector{0, 4, 8}) {
      const Geometry geometry(kMinChunkLog2 + log2);
      seeds.push_back(
          ByteWriter().bytes(Bytes(&log2, 1)).le(geometry.backing_size(plain)).le(plain).take());
    }
  }
  return seeds;
}

}  // namespace coffer::fuzz
