// Older parts put back into a newer file, and parts that are sealed properly but lie where they
// were not sealed for.

#include <gtest/gtest.h>

#include "tests/unit/fs/content/tamper_bench.h"

namespace coffer {
namespace {

using testing::ContentModel;
using testing::ContentWorld;
using testing::kLeafBytes;
using testing::MemoryFile;
using testing::Shape;
using testing::test_binding;

class EncryptedFileRollback : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kChanged = 0;  ///< chunk that differs between the states
  static constexpr std::uint64_t kOther = kLeafBytes + 4096;  ///< of another leaf, the same in both

  /// Two leaves below one top node; the older state in `older_`, then chunk 0 is overwritten.
  void SetUp() override {
    const auto file = world_.create(newer_, 12, keys_);
    ASSERT_TRUE(file->write(kChanged, ByteVector(4096, 'A')).ok());
    ASSERT_TRUE(file->write(kOther, ByteVector(4096, 'o')).ok());
    ASSERT_TRUE(file->sync(false).ok());
    ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
    ASSERT_TRUE(file->sync(false).ok());
    older_.copy_from(newer_);
    older_generation_ = file->committed().generation;
    ASSERT_TRUE(file->write(kChanged, ByteVector(4096, 'B')).ok());
    ASSERT_TRUE(file->settle().ok());
  }
  /// What a chunk reads as: its letter, or 0 for an error.
  char letter(EncryptedFile& file, std::uint64_t offset) {
    ByteVector out(4096, 0xee);
    const auto done = file.read(offset, out);
    if (!done) {
      EXPECT_EQ(done.error().code, Code::kCorrupt);
      EXPECT_TRUE(all_zero(out));
      return 0;
    }
    EXPECT_TRUE(equal(out, ByteVector(4096, out[0])));
    return static_cast<char>(out[0]);
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile newer_;
  MemoryFile older_;
  std::uint64_t older_generation_ = 0;
};

TEST_F(EncryptedFileRollback, EachMixtureOfOldAndNewPartsIsOneStateOrRefused) {
  const Geometry geometry(12);
  struct Part {
    std::uint64_t offset;
    std::size_t length;
  };
  const Part parts[] = {{0, 4096},
                        {4096, 4096},
                        {geometry.node_offset({1, 0}), 4096},
                        {geometry.node_offset({0, 0}), 4096},
                        {geometry.chunk_offset(0), 4096}};
  for (const Part& part : parts) {
    // Slot 0 alone is the same in both states: the older state's header stays while the newer one
    // is written.
    const bool same =
        newer_.bytes(part.offset, part.length) == older_.bytes(part.offset, part.length);
    EXPECT_EQ(same, part.offset == 0) << part.offset;
  }
  for (unsigned old_parts = 0; old_parts < 32; ++old_parts) {
    SCOPED_TRACE(::testing::Message() << "parts " << old_parts);
    const MemoryFile mixed;
    mixed.copy_from(newer_);
    for (std::size_t i = 0; i < 5; ++i) {
      if ((old_parts >> i & 1U) == 0) continue;
      mixed.put(parts[i].offset, older_.bytes(parts[i].offset, parts[i].length));
    }
    const auto is_old = [&](unsigned part) { return (old_parts >> part & 1U) != 0; };
    // The newest header decides which state it is; every part has to be of that one.
    const bool old_state = is_old(1);
    const auto opened = world_.open(mixed, keys_);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ((*opened)->committed().generation, older_generation_ + (old_state ? 0 : 1))
        << "the keystore's record tells a rollback by this";
    const bool top_fits = is_old(2) == old_state;
    const bool all_fit = top_fits && is_old(3) == old_state && is_old(4) == old_state;
    EXPECT_EQ(letter(**opened, kOther), top_fits ? 'o' : 0);
    EXPECT_EQ(letter(**opened, kChanged), all_fit ? (old_state ? 'A' : 'B') : 0);
  }
}

TEST_F(EncryptedFileRollback, TheOlderSlotMovedOverTheNewerIsTheOlderState) {
  const MemoryFile mixed;
  mixed.copy_from(newer_);
  mixed.put(4096, newer_.bytes(0, 4096));
  const auto opened = world_.open(mixed, keys_);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->committed().generation, older_generation_);
  EXPECT_EQ(letter(**opened, kChanged), 0) << "its nodes are gone";
}

TEST_F(EncryptedFileRollback, AnOlderSizeIsNotTakenForTheNewer) {
  // The file shrinks and grows over the same place; its older header says an older size.
  const MemoryFile backing;
  const auto file = world_.create(backing, 12, keys_);
  ASSERT_TRUE(file->write(0, ByteVector(4096 * 3, 'l')).ok());
  ASSERT_TRUE(file->sync(false).ok());
  const MemoryFile longer;
  longer.copy_from(backing);
  ASSERT_TRUE(file->truncate(4096).ok());
  ASSERT_TRUE(file->sync(false).ok());
  // The older body back, under the newer headers: longer than they say, and the leaf is another.
  const MemoryFile mixed;
  mixed.copy_from(longer);
  mixed.put(0, backing.bytes(0, 8192));
  const auto opened = world_.open(mixed, keys_);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->size(), 4096U);
  EXPECT_EQ(letter(**opened, 0), 0);
}

/// Seals what it is told under the file's own keys, as no attacker could: shows what each binding
/// is good for by itself.
class Insider {
 public:
  Insider(ContentWorld& world, std::shared_ptr<const FileKeys> keys)
      : world_(world), keys_(std::move(keys)) {
    header_.suite = static_cast<std::uint16_t>(keys_->suite);
    header_.chunk_log2 = 12;
    header_.store = world.store();
    header_.file = keys_->file;
    header_.dek_version = keys_->dek_version;
    header_.scope = keys_->scope;
    header_.commitment = keys_->commitment;
    header_.bindings = {test_binding()};
  }
  /// Entry and ciphertext of a chunk; sealed for the given place.
  void seal(std::uint64_t at_chunk, Bytes plain, FileId file, std::uint32_t version,
            std::uint64_t chunk) {
    const ByteVector associated = ByteWriter().bytes(file.view()).le(version).le(chunk).take();
    LeafEntry entry;
    entry.is_hole = false;
    entry.nonce[0] = static_cast<std::uint8_t>(++nonces_);
    ByteVector cipher(plain.size());
    keys_->content->seal(entry.nonce, associated, plain, cipher, entry.tag);
    encode_leaf_entry(entry, node_entry(leaf_, static_cast<unsigned>(at_chunk)));
    backing.put(8192 + 4096 + at_chunk * 4096, cipher);
  }
  Result<std::unique_ptr<EncryptedFile>> open(std::uint64_t size) {
    backing.put(8192, leaf_);
    header_.plain_size = size;
    header_.root = sha256(leaf_);
    TRY(HeaderSlots::create(backing.open(), *keys_, header_));
    return world_.open(backing, keys_);
  }
  Block& leaf() { return leaf_; }

  MemoryFile backing;

 private:
  ContentWorld& world_;
  std::shared_ptr<const FileKeys> keys_;
  FileHeader header_;
  Block leaf_{};
  unsigned nonces_ = 0;
};

TEST_F(EncryptedFileRollback, AChunkIsSealedForItsFileVersionAndIndex) {
  const ByteVector plain(4096, 'p');
  FileId other = keys_->file;
  other.bytes[3] ^= 1;
  const std::uint32_t version = keys_->dek_version.value;
  struct Case {
    FileId file;
    std::uint32_t version;
    std::uint64_t chunk;
    char expected;
  };
  for (const Case& c :
       {Case{keys_->file, version, 1, 'p'}, Case{keys_->file, version, 0, 0},
        Case{keys_->file, version, 2, 0}, Case{keys_->file, version, 1ULL << 32 | 1, 0},
        Case{keys_->file, version + 1, 1, 0}, Case{other, version, 1, 0}}) {
    Insider insider(world_, keys_);
    insider.seal(1, plain, c.file, c.version, c.chunk);
    const auto opened = insider.open(2 * 4096);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    EXPECT_EQ(letter(**opened, 4096), c.expected);
  }
}

TEST_F(EncryptedFileRollback, AChunkIsSealedInItsLength) {
  // Sealed as 100 bytes, in a file that says 99 or 101.
  for (const std::uint64_t size : {99U, 100U, 101U}) {
    Insider insider(world_, keys_);
    insider.seal(0, ByteVector(100, 'p'), keys_->file, keys_->dek_version.value, 0);
    insider.backing.resize(8192 + 4096 + size);
    const auto opened = insider.open(size);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    ByteVector out(size, 0xee);
    EXPECT_EQ((*opened)->read(0, out).ok(), size == 100) << size;
  }
}

TEST_F(EncryptedFileRollback, AnEntryOfAnUnknownStateIsRefusedAlthoughItIsAuthentic) {
  for (const std::uint32_t state : {0U, 2U, 3U, 0x80000001U}) {
    Insider insider(world_, keys_);
    insider.seal(0, ByteVector(4096, 'p'), keys_->file, keys_->dek_version.value, 0);
    store_le(insider.leaf(), 28, state);
    const auto opened = insider.open(4096);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(letter(**opened, 0), 0) << state;
  }
}

}  // namespace
}  // namespace coffer
