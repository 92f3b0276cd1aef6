#include "fs/format/header.h"

#include <algorithm>

namespace coffer {
namespace {

constexpr std::string_view kFileMagic = "COFFER-F";
constexpr std::string_view kDirectoryMagic = "COFFER-D";
constexpr std::uint16_t kVersion = 1;

// Offsets of fs/FORMAT.md 3.1.
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kSuiteAt = 10;
constexpr std::size_t kChunkLog2At = 12;
constexpr std::size_t kReserved1At = 13;
constexpr std::size_t kBindingCountAt = 14;
constexpr std::size_t kStoreAt = 16;
constexpr std::size_t kFileAt = 32;
constexpr std::size_t kDekVersionAt = 48;
constexpr std::size_t kScopeAt = 52;
constexpr std::size_t kPlainSizeAt = 56;
constexpr std::size_t kGenerationAt = 64;
constexpr std::size_t kRootAt = 72;
constexpr std::size_t kCommitmentAt = 104;
constexpr std::size_t kReserved2At = 136;
constexpr std::size_t kXattrsAt = 192;
constexpr std::size_t kReserved3At = 224;
constexpr std::size_t kBindingsAt = 256;

// Offsets of fs/FORMAT.md 5.
constexpr std::size_t kDirBindingCountAt = 10;
constexpr std::size_t kDirScopeAt = 12;
constexpr std::size_t kDirStoreAt = 16;
constexpr std::size_t kDirIdAt = 32;
constexpr std::size_t kDirGenerationAt = 48;
constexpr std::size_t kDirReserved1At = 56;
constexpr std::size_t kDirBindingsAt = 64;
constexpr std::size_t kDirXattrsAt = 192;
constexpr std::size_t kDirReserved2At = 224;

template <std::size_t N>
void put(MutableBytes out, std::size_t offset, const std::array<std::uint8_t, N>& value) {
  std::copy(value.begin(), value.end(), out.begin() + static_cast<std::ptrdiff_t>(offset));
}

template <std::size_t N>
std::array<std::uint8_t, N> get(Bytes in, std::size_t offset) {
  std::array<std::uint8_t, N> value;
  std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(offset), N, value.begin());
  return value;
}

void put_bindings(MutableBytes out, std::size_t offset, const std::vector<Binding>& bindings) {
  for (std::size_t i = 0; i < bindings.size(); ++i)
    put(out, offset + i * sizeof(Binding), bindings[i]);
}

/// The listed bindings; kCorrupt if there are more than `limit` or the unused places are not zero.
Result<std::vector<Binding>> get_bindings(Bytes in, std::size_t offset, std::size_t count,
                                          std::size_t limit) {
  if (count > limit) return Error{Code::kCorrupt, 0, "too many name bindings"};
  std::vector<Binding> bindings;
  bindings.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    bindings.push_back(get<sizeof(Binding)>(in, offset + i * sizeof(Binding)));
  }
  if (!all_zero(in.subspan(offset + count * sizeof(Binding), (limit - count) * sizeof(Binding)))) {
    return Error{Code::kCorrupt, 0, "unused name bindings are not zero"};
  }
  return bindings;
}

Result<void> check_preamble(Bytes in, std::size_t size, std::string_view magic,
                            std::string_view what) {
  if (in.size() != size) return Error{Code::kCorrupt, 0, std::string(what) + " is cut short"};
  if (as_text(in.first(magic.size())) != magic) {
    return Error{Code::kCorrupt, 0, "no coffer " + std::string(what)};
  }
  const auto version = load_le<std::uint16_t>(in, kVersionAt);
  if (version != kVersion) {
    return Error{Code::kUnknownVersion, 0,
                 std::string(what) + " of format version " + std::to_string(version) +
                     ", this program knows " + std::to_string(kVersion)};
  }
  return {};
}

}  // namespace

void encode_header(const FileHeader& header, Block& slot) {
  slot.fill(0);
  const MutableBytes out(slot);
  std::copy(kFileMagic.begin(), kFileMagic.end(), out.begin());
  store_le(out, kVersionAt, kVersion);
  store_le(out, kSuiteAt, header.suite);
  out[kChunkLog2At] = static_cast<std::uint8_t>(header.chunk_log2);
  store_le(out, kBindingCountAt, static_cast<std::uint16_t>(header.bindings.size()));
  put(out, kStoreAt, header.store.bytes);
  put(out, kFileAt, header.file.bytes);
  store_le(out, kDekVersionAt, header.dek_version.value);
  store_le(out, kScopeAt, header.scope.value);
  store_le(out, kPlainSizeAt, header.plain_size);
  store_le(out, kGenerationAt, header.generation);
  put(out, kRootAt, header.root);
  put(out, kCommitmentAt, header.commitment);
  put(out, kXattrsAt, header.xattrs);
  put_bindings(out, kBindingsAt, header.bindings);
}

Result<FileHeader> decode_header(Bytes slot) {
  if (slot.size() == kBlockSize && all_zero(slot))
    return Error{Code::kNotFound, 0, "header slot is empty"};
  TRY(check_preamble(slot, kBlockSize, kFileMagic, "file header"));
  FileHeader header;
  header.suite = load_le<std::uint16_t>(slot, kSuiteAt);
  header.chunk_log2 = slot[kChunkLog2At];
  header.store = StoreId::from(slot.subspan(kStoreAt, 16));
  header.file = FileId::from(slot.subspan(kFileAt, 16));
  header.dek_version = KeyVersion{load_le<std::uint32_t>(slot, kDekVersionAt)};
  header.scope = ScopeId{load_le<std::uint32_t>(slot, kScopeAt)};
  header.plain_size = load_le<std::uint64_t>(slot, kPlainSizeAt);
  header.generation = load_le<std::uint64_t>(slot, kGenerationAt);
  header.root = get<32>(slot, kRootAt);
  header.commitment = get<32>(slot, kCommitmentAt);
  header.xattrs = get<32>(slot, kXattrsAt);
  header.bindings = TRY(get_bindings(
      slot, kBindingsAt, load_le<std::uint16_t>(slot, kBindingCountAt), kMaxFileBindings));
  const bool in_range = (header.suite == 1 || header.suite == 2) &&
                        header.chunk_log2 >= kMinChunkLog2 && header.chunk_log2 <= kMaxChunkLog2 &&
                        header.plain_size <= kMaxPlainSize && header.generation > 0;
  const bool reserved_zero = slot[kReserved1At] == 0 &&
                             all_zero(slot.subspan(kReserved2At, kXattrsAt - kReserved2At)) &&
                             all_zero(slot.subspan(kReserved3At, kBindingsAt - kReserved3At));
  if (!in_range || !reserved_zero) return Error{Code::kCorrupt, 0, "file header is malformed"};
  return header;
}

void encode_directory(const DirectoryRecord& record, DirectoryBlock& block) {
  block.fill(0);
  const MutableBytes out(block);
  std::copy(kDirectoryMagic.begin(), kDirectoryMagic.end(), out.begin());
  store_le(out, kVersionAt, kVersion);
  store_le(out, kDirBindingCountAt, static_cast<std::uint16_t>(record.bindings.size()));
  store_le(out, kDirScopeAt, record.scope.value);
  put(out, kDirStoreAt, record.store.bytes);
  put(out, kDirIdAt, record.dir.bytes);
  store_le(out, kDirGenerationAt, record.generation);
  put_bindings(out, kDirBindingsAt, record.bindings);
  put(out, kDirXattrsAt, record.xattrs);
}

Result<DirectoryRecord> decode_directory(Bytes in) {
  TRY(check_preamble(in, kDirectoryRecordSize, kDirectoryMagic, "directory record"));
  DirectoryRecord record;
  record.scope = ScopeId{load_le<std::uint32_t>(in, kDirScopeAt)};
  record.store = StoreId::from(in.subspan(kDirStoreAt, 16));
  record.dir = DirId::from(in.subspan(kDirIdAt, 16));
  record.generation = load_le<std::uint64_t>(in, kDirGenerationAt);
  record.bindings = TRY(get_bindings(
      in, kDirBindingsAt, load_le<std::uint16_t>(in, kDirBindingCountAt), kMaxDirectoryBindings));
  record.xattrs = get<32>(in, kDirXattrsAt);
  const bool reserved_zero =
      all_zero(in.subspan(kDirReserved1At, kDirBindingsAt - kDirReserved1At)) &&
      all_zero(in.subspan(kDirReserved2At, kDirectoryMacOffset - kDirReserved2At));
  if (record.bindings.empty() || record.generation == 0 || !reserved_zero) {
    return Error{Code::kCorrupt, 0, "directory record is malformed"};
  }
  return record;
}

}  // namespace coffer
