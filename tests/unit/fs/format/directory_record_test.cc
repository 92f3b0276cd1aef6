// The directory record, byte by byte (fs/FORMAT.md 5).

#include <gtest/gtest.h>

#include "fs/format/header.h"
#include "tests/support/fs_random.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::seed_trace;

struct Sample {
  DirectoryRecord record;
  DirectoryBlock block{};
};

Sample sample(std::size_t bindings = 2) {
  Sample made;
  const std::string_view magic = "COFFER-D";
  std::copy(magic.begin(), magic.end(), made.block.begin());
  made.block[8] = 1;
  made.block[10] = static_cast<std::uint8_t>(bindings);
  for (std::size_t i = 0; i < 4; ++i) made.block[12 + i] = static_cast<std::uint8_t>(0x24 - i);
  made.record.scope = ScopeId{0x21222324};
  for (std::size_t i = 0; i < 16; ++i) {
    made.record.store.bytes[i] = made.block[16 + i] = static_cast<std::uint8_t>(0x40 + i);
    made.record.dir.bytes[i] = made.block[32 + i] = static_cast<std::uint8_t>(0x60 + i);
  }
  for (std::size_t i = 0; i < 8; ++i) made.block[48 + i] = static_cast<std::uint8_t>(0xc8 - i);
  made.record.generation = 0xc1c2c3c4c5c6c7c8;
  for (std::size_t i = 0; i < 32; ++i) {
    made.record.xattrs[i] = made.block[192 + i] = static_cast<std::uint8_t>(0x80 + i);
  }
  for (std::size_t b = 0; b < bindings; ++b) {
    made.record.bindings.emplace_back();
    for (std::size_t i = 0; i < 16; ++i) {
      made.record.bindings[b][i] = made.block[64 + 16 * b + i] =
          static_cast<std::uint8_t>(b * 16 + i);
    }
  }
  return made;
}

void expect_equal(const DirectoryRecord& a, const DirectoryRecord& b) {
  EXPECT_EQ(a.scope, b.scope);
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.dir, b.dir);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.bindings, b.bindings);
  EXPECT_EQ(a.xattrs, b.xattrs);
}

Code code_of(Bytes block) {
  const auto decoded = decode_directory(block);
  EXPECT_FALSE(decoded.ok());
  return decoded ? Code::kIo : decoded.error().code;
}

TEST(DirectoryRecord, EncodesAndDecodesTheBytesOfTheFormat) {
  for (std::size_t bindings = 1; bindings <= 8; ++bindings) {
    SCOPED_TRACE(bindings);
    const Sample made = sample(bindings);
    DirectoryBlock block;
    block.fill(0xee);
    encode_directory(made.record, block);
    EXPECT_EQ(to_hex(block), to_hex(made.block));
    const auto decoded = decode_directory(made.block);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message();
    expect_equal(*decoded, made.record);
  }
  EXPECT_EQ(kDirectoryRecordSize, 512U);
  EXPECT_EQ(kDirectoryMacOffset, 480U);
}

TEST(DirectoryRecord, EachMagicByteCounts) {
  for (std::size_t i = 0; i < 8; ++i) {
    Sample made = sample();
    made.block[i] ^= 1;
    EXPECT_EQ(code_of(made.block), Code::kCorrupt) << "byte " << i;
  }
}

TEST(DirectoryRecord, AFileHeaderIsNone) {
  Sample made = sample();
  made.block[7] = 'F';
  EXPECT_EQ(code_of(made.block), Code::kCorrupt);
}

TEST(DirectoryRecord, OtherVersionsAreUnknown) {
  for (const unsigned version : {0U, 2U, 0x0100U, 0x0101U, 0xffffU}) {
    Sample made = sample();
    store_le(made.block, 8, static_cast<std::uint16_t>(version));
    EXPECT_EQ(code_of(made.block), Code::kUnknownVersion) << version;
  }
}

TEST(DirectoryRecord, OtherLengthsAreRefused) {
  const Sample made = sample();
  for (std::size_t length = 0; length < 512; ++length) {
    ASSERT_EQ(code_of(Bytes(made.block).first(length)), Code::kCorrupt) << length;
  }
  ByteVector longer(made.block.begin(), made.block.end());
  longer.push_back(0);
  EXPECT_EQ(code_of(longer), Code::kCorrupt);
  // There is no such thing as a record yet to be written.
  EXPECT_EQ(code_of(DirectoryBlock{}), Code::kCorrupt);
}

TEST(DirectoryRecord, EachReservedByteIsZero) {
  for (std::size_t at = 0; at < 480; ++at) {
    if (!((at >= 56 && at < 64) || at >= 224)) continue;
    Sample made = sample();
    made.block[at] = 0x80;
    ASSERT_EQ(code_of(made.block), Code::kCorrupt) << "byte " << at;
  }
}

TEST(DirectoryRecord, EachUnusedBindingByteIsZero) {
  for (std::size_t bindings = 1; bindings < 8; ++bindings) {
    for (std::size_t at = 64 + 16 * bindings; at < 192; ++at) {
      Sample made = sample(bindings);
      made.block[at] = 1;
      ASSERT_EQ(code_of(made.block), Code::kCorrupt) << "byte " << at;
    }
  }
}

TEST(DirectoryRecord, RangesHaveTheirEnds) {
  for (const unsigned count : {0U, 9U, 10U, 0x0102U, 0xffffU}) {
    Sample made = sample();
    store_le(made.block, 10, static_cast<std::uint16_t>(count));
    EXPECT_EQ(code_of(made.block), Code::kCorrupt) << count << " bindings";
  }
  Sample made = sample();
  store_le(made.block, 48, std::uint64_t{0});
  EXPECT_EQ(code_of(made.block), Code::kCorrupt) << "generation 0";
  store_le(made.block, 48, std::uint64_t{1});
  EXPECT_TRUE(decode_directory(made.block).ok());
}

TEST(DirectoryRecord, WhateverIsAcceptedEncodesToTheSameBytes) {
  constexpr std::uint64_t kSeed = 31;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  const DirectoryBlock valid = sample(5).block;
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    DirectoryBlock block = valid;
    const std::uint64_t changes = choose.between(1, 4);
    for (std::uint64_t k = 0; k < changes; ++k) {
      const std::uint64_t at = choose.one_in(8) ? choose.below(512) : choose.below(150);
      block[at] = choose.one_in(2) ? choose.byte() : static_cast<std::uint8_t>(choose.below(9));
    }
    const auto decoded = decode_directory(block);
    if (!decoded) continue;
    ++accepted;
    DirectoryBlock again;
    encode_directory(*decoded, again);
    ASSERT_TRUE(equal(Bytes(block).first(480), Bytes(again).first(480))) << to_hex(block);
  }
  EXPECT_GT(accepted, 10'000);
  EXPECT_LT(accepted, 190'000);
}

TEST(DirectoryRecord, GarbageIsRefused) {
  constexpr std::uint64_t kSeed = 32;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  const std::string_view magic = "COFFER-D";
  for (int i = 0; i < 50'000; ++i) {
    ByteVector block = choose.bytes(choose.one_in(4) ? choose.below(600) : 512);
    if (block.size() > 10 && choose.one_in(2)) {
      std::copy(magic.begin(), magic.end(), block.begin());
      block[8] = 1;
      block[9] = 0;
    }
    ASSERT_FALSE(decode_directory(block).ok()) << "round " << i;
  }
}

}  // namespace
}  // namespace coffer
