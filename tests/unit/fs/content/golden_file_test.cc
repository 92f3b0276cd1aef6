// Whole backing files put together from values that tests/unit/fs/golden.py worked out, without any
// of this program: they have to open, and what this program writes of the same has to be the same.
// If one of these tests fails, format version 1 has changed.

#include <gtest/gtest.h>

#include "fs/content/encrypted_file.h"
#include "tests/support/fs_content.h"
#include "tests/support/vectors.h"

namespace coffer {
namespace {

using testing::ContentWorld;
using testing::MemoryFile;
using testing::unhex;

template <typename Id>
Id id_from(std::uint8_t first) {
  Id id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i)
    id.bytes[i] = static_cast<std::uint8_t>(first + i);
  return id;
}

Binding golden_binding() { return id_from<FileId>(0xb0).bytes; }

constexpr const char* kHeaderKey =
    "435f871cd3f00fc9f10bfb7cf18aa0dfe772f3b4b2f7172faf06a89f1e824181";
constexpr const char* kCommitment =
    "f84c28ae73c3b315ce2f05e22c38d60c15002876e54fd5919981647aeaea3908";

struct Small {
  Suite suite;
  const char* content_key;
  const char* cipher;
  const char* entry;
  const char* root;
  const char* mac;
};

const Small kSmallFiles[] = {
    {Suite::kAes256Gcm, "d59bb21245f1a883321182f525fc96dddd9eb22d9c3ee3cab281d164d78198a6",
     "340130342ecf3ff05c2bd9a4", "f0f1f2f3f4f5f6f7f8f9fafb0ae04488d3f0f01812167033bcbfe1b701000000",
     "0416626ef20cdc54130b9500bf541ad8594f29a6d48234fbd68c1e8801d7ed4a",
     "803b1f20407d6f4b3c5df862dd98462544190bb987c355d47097f6fa450cc5be"},
    {Suite::kChaCha20Poly1305, "2fafb512de107a8d26441465f291cecc90fc2b71ab81ca1473f66a6890b610a7",
     "a102e14e0723a0394eac518a", "f0f1f2f3f4f5f6f7f8f9fafbf3ba1a3d5753044195288181eba2a57f01000000",
     "3ea02f2b46ce7273ec1b52b3c78d064c54c9102f8a3949a575f2efe7f1f482be",
     "ed982aca02df2c0df2881775c7439febca1cbd464bca1442944987647fb3ea04"},
};

class GoldenFile : public ::testing::TestWithParam<AeadEngine::Choice> {
 protected:
  [[nodiscard]] std::shared_ptr<const FileKeys> keys(Suite suite) const {
    SecretBytes dek(32);
    for (std::size_t i = 0; i < 32; ++i) dek.expose()[i] = static_cast<std::uint8_t>(i);
    return FileKeys::derive(engine_, suite, dek, id_from<FileId>(0x30), KeyVersion{7}, ScopeId{9});
  }
  [[nodiscard]] ContentContext context() {
    return {engine_, nodes_, scratch_, crew_, *journals_, id_from<StoreId>(0x20)};
  }

  /// A header by the table of fs/FORMAT.md 3.1.
  static ByteVector header(Suite suite, std::uint64_t size, std::uint64_t generation,
                           const ByteVector& root, const ByteVector& mac) {
    ByteWriter out;
    out.text("COFFER-F").le(std::uint16_t{1}).le(static_cast<std::uint16_t>(suite));
    out.le(std::uint8_t{12}).le(std::uint8_t{0}).le(std::uint16_t{1});
    out.bytes(id_from<StoreId>(0x20).view()).bytes(id_from<FileId>(0x30).view());
    out.le(std::uint32_t{7}).le(std::uint32_t{9}).le(size).le(generation);
    out.bytes(root).bytes(unhex(kCommitment)).zeros(120).bytes(golden_binding()).zeros(16 * 237);
    out.bytes(mac);
    EXPECT_EQ(out.data().size(), 4096U);
    return out.take();
  }
  Result<std::unique_ptr<EncryptedFile>> open(const MemoryFile& file, Suite suite) {
    BackingFile backing = file.open();
    const RawHeader raw = TRY(read_raw_header(backing));
    return EncryptedFile::open(context(), std::move(backing), raw, keys(suite),
                               ContentWorld::kOnRecord);
  }

  AeadEngine engine_ = AeadEngine::create(GetParam()).value();
  NodeCache nodes_{1 << 20};
  ScratchPool scratch_;
  Crew crew_;
  std::unique_ptr<JournalDir> journals_ = *JournalDir::open(nullptr, false);
};

INSTANTIATE_TEST_SUITE_P(Engines, GoldenFile,
                         ::testing::Values(AeadEngine::Choice::kFastest,
                                           AeadEngine::Choice::kOpenSsl));

TEST_P(GoldenFile, KeysAreDerivedAsTheFormatSays) {
  for (const Small& golden : kSmallFiles) {
    const auto derived = keys(golden.suite);
    EXPECT_EQ(to_hex(derived->commitment), kCommitment);
    const ByteVector text(77, 0x42);
    EXPECT_EQ(to_hex(derived->header.mac(text)), to_hex(HmacKey(unhex(kHeaderKey)).mac(text)));
    const auto content = engine_.expand(golden.suite, unhex(golden.content_key));
    ByteVector a(100);
    ByteVector b(100);
    Tag tag_a;
    Tag tag_b;
    derived->content->seal(Nonce{}, text, ByteVector(100, 1), a, tag_a);
    content->seal(Nonce{}, text, ByteVector(100, 1), b, tag_b);
    EXPECT_EQ(a, b);
    EXPECT_EQ(tag_a, tag_b);
  }
}

TEST_P(GoldenFile, ASmallFileOpens) {
  for (const Small& golden : kSmallFiles) {
    const MemoryFile file;
    file.put(0, header(golden.suite, 12, 1, unhex(golden.root), unhex(golden.mac)));
    file.put(8192, unhex(golden.entry));
    file.put(8192 + 4096, unhex(golden.cipher));
    const auto opened = open(file, golden.suite);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    EXPECT_EQ((*opened)->size(), 12U);
    EXPECT_TRUE((*opened)->has_binding(golden_binding()));
    ByteVector out(12);
    ASSERT_TRUE((*opened)->read(0, out).ok());
    EXPECT_EQ(as_text(out), "hello, world");
  }
}

TEST_P(GoldenFile, AHeaderIsSealedToTheSameBytes) {
  for (const Small& golden : kSmallFiles) {
    FileHeader next;
    next.suite = static_cast<std::uint16_t>(golden.suite);
    next.chunk_log2 = 12;
    next.store = id_from<StoreId>(0x20);
    next.file = id_from<FileId>(0x30);
    next.dek_version = KeyVersion{7};
    next.scope = ScopeId{9};
    next.plain_size = 12;
    const ByteVector root = unhex(golden.root);
    std::copy(root.begin(), root.end(), next.root.begin());
    const auto derived = keys(golden.suite);
    next.commitment = derived->commitment;
    next.bindings = {golden_binding()};
    const MemoryFile file;
    ASSERT_TRUE(HeaderSlots::create(file.open(), *derived, next).ok());
    ASSERT_EQ(file.size(), 8192U);
    EXPECT_EQ(to_hex(file.bytes(0, 4096)),
              to_hex(header(golden.suite, 12, 1, root, unhex(golden.mac))));
    EXPECT_TRUE(all_zero(file.bytes(4096, 4096)));
  }
}

TEST_P(GoldenFile, ADeepSparseFileOpens) {
  // 129 leaves of 4 KiB chunks, all holes but the first chunk and the last.
  constexpr std::uint64_t kGroup = 4096 + 128 * 4096;
  constexpr std::uint64_t kLastChunk = 128 * 128;
  const ByteVector leaf_0 =
      unhex("8edba28a4e48120eab53c4beefc89f1b9ea2f0230ac662404eee54237beab3bd");
  const ByteVector leaf_128 =
      unhex("4e8ef2ab8a948bbddf816e20c8435752d7d1a0337073e17cae0e49a9591b2add");
  const ByteVector inner_0 =
      unhex("1c3d215ee57025410a53ada444baaf74f6fb658b948e0bbc4ff8693bdc7b1108");
  const ByteVector inner_1 =
      unhex("724f6758a97efd07c3cba9c49c540cccbad567a97a7f8d5fa269c7e532f1153b");
  const ByteVector top = unhex("3b68913334cc907d957122b3b1239f7de2667ec45fd6a0a60391fca7478d077a");
  const MemoryFile file;
  // Before leaf 1 stands one inner node, before leaf 128 two: of level 2, then 1.
  const std::uint64_t leaf_128_at = 8192 + 128 * kGroup + 3 * 4096;
  file.put(0, header(Suite::kAes256Gcm, kLastChunk * 4096 + 3, 2, top,
                     unhex("4a9251fd6d1ff7f77158c96eef5c3aa772f305da90fdca52c9bd6a8bbd228ea6")));
  file.put(4096, ByteVector(4096));
  file.put(8192,
           unhex("f0f1f2f3f4f5f6f7f8f9fafb8df60363d1cb6da7b54b223bbb6c4c8d01000000"));  // leaf 0
  file.put(8192 + kGroup, leaf_0);  // node 0 of level 1
  file.put(leaf_128_at - 8192, ByteWriter().bytes(inner_0).bytes(inner_1).take());  // level 2
  file.put(leaf_128_at - 4096, leaf_128);  // node 1 of level 1
  file.put(leaf_128_at, unhex("000000000000000000000000d60e3481a85c35c5548a79383cf2590e01000000"));
  file.put(leaf_128_at + 4096, unhex("b28d5d"));
  // The first chunk's ciphertext is sealed here; its hash and its tag are golden.
  ByteVector cipher(4096);
  Nonce nonce;
  for (std::size_t i = 0; i < 12; ++i) nonce[i] = static_cast<std::uint8_t>(0xf0 + i);
  const ByteVector associated = ByteWriter()
                                    .bytes(id_from<FileId>(0x30).view())
                                    .le(std::uint32_t{7})
                                    .le(std::uint64_t{0})
                                    .take();
  Tag tag;
  keys(Suite::kAes256Gcm)->content->seal(nonce, associated, ByteVector(4096, 'a'), cipher, tag);
  EXPECT_EQ(to_hex(sha256(cipher)),
            "79018439f289a09aed1fc6454f43ed898003ca9aa5e538d2d1f6f189071a08ec");
  file.put(8192 + 4096, cipher);

  const auto opened = open(file, Suite::kAes256Gcm);
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  ASSERT_EQ((*opened)->size(), kLastChunk * 4096 + 3);
  ByteVector out(4097, 0xee);
  ASSERT_TRUE((*opened)->read(0, out).ok());
  EXPECT_TRUE(equal(Bytes(out).first(4096), ByteVector(4096, 'a')));
  EXPECT_EQ(out[4096], 0);
  ByteVector end(10, 0xee);
  const auto length = (*opened)->read(kLastChunk * 4096 - 5, end);
  ASSERT_TRUE(length.ok()) << length.error().message();
  EXPECT_EQ(*length, 8U);
  EXPECT_EQ(as_text(Bytes(end).first(8)), std::string(5, '\0') + "end");
}

}  // namespace
}  // namespace coffer
