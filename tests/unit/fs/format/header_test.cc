// The header slot, byte by byte (fs/FORMAT.md 3.1).

#include "fs/format/header.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/fs_random.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::seed_trace;

/// A header with no field left at zero, and its slot written by the offsets of the format's table.
struct HeaderSample {
  FileHeader header;
  Block slot{};
};

HeaderSample header_sample(std::size_t bindings = 3) {
  HeaderSample made;
  FileHeader& header = made.header;
  Block& slot = made.slot;
  const auto fill = [&slot](std::size_t offset, std::size_t length, std::uint8_t first, auto& out) {
    for (std::size_t i = 0; i < length; ++i) {
      out[i] = static_cast<std::uint8_t>(first + i);
      slot[offset + i] = out[i];
    }
  };
  const std::string_view magic = "COFFER-F";
  std::copy(magic.begin(), magic.end(), slot.begin());
  slot[8] = 1;  // version
  slot[10] = 2;
  header.suite = 2;
  slot[12] = 14;
  header.chunk_log2 = 14;
  slot[14] = static_cast<std::uint8_t>(bindings);
  fill(16, 16, 0x10, header.store.bytes);
  fill(32, 16, 0x30, header.file.bytes);
  slot[48] = 0x04, slot[49] = 0x03, slot[50] = 0x02, slot[51] = 0x01;
  header.dek_version = KeyVersion{0x01020304};
  slot[52] = 0x08, slot[53] = 0x07, slot[54] = 0x06, slot[55] = 0x05;
  header.scope = ScopeId{0x05060708};
  for (std::size_t i = 0; i < 6; ++i) slot[56 + i] = static_cast<std::uint8_t>(0xa6 - i);
  header.plain_size = 0xa1a2a3a4a5a6;
  for (std::size_t i = 0; i < 8; ++i) slot[64 + i] = static_cast<std::uint8_t>(0xb8 - i);
  header.generation = 0xb1b2b3b4b5b6b7b8;
  fill(72, 32, 0x48, header.root);
  fill(104, 32, 0x68, header.commitment);
  fill(192, 32, 0x88, header.xattrs);
  for (std::size_t i = 0; i < bindings; ++i) {
    header.bindings.emplace_back();
    fill(256 + 16 * i, 16, static_cast<std::uint8_t>(i + 1), header.bindings.back());
  }
  return made;
}

void expect_equal(const FileHeader& a, const FileHeader& b) {
  EXPECT_EQ(a.suite, b.suite);
  EXPECT_EQ(a.chunk_log2, b.chunk_log2);
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.file, b.file);
  EXPECT_EQ(a.dek_version, b.dek_version);
  EXPECT_EQ(a.scope, b.scope);
  EXPECT_EQ(a.plain_size, b.plain_size);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.root, b.root);
  EXPECT_EQ(a.commitment, b.commitment);
  EXPECT_EQ(a.xattrs, b.xattrs);
  EXPECT_EQ(a.bindings, b.bindings);
}

Code code_of(const Block& slot) {
  const auto decoded = decode_header(slot);
  EXPECT_FALSE(decoded.ok());
  return decoded ? Code::kIo : decoded.error().code;
}

TEST(Header, EncodesTheBytesOfTheFormat) {
  for (const std::size_t bindings : {0U, 1U, 3U, 237U, 238U}) {
    const HeaderSample made = header_sample(bindings);
    Block slot;
    slot.fill(0xee);
    encode_header(made.header, slot);
    EXPECT_EQ(to_hex(slot), to_hex(made.slot)) << bindings << " bindings";
  }
}

TEST(Header, DecodesTheBytesOfTheFormat) {
  for (const std::size_t bindings : {0U, 1U, 3U, 237U, 238U}) {
    SCOPED_TRACE(bindings);
    const HeaderSample made = header_sample(bindings);
    const auto decoded = decode_header(made.slot);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message();
    expect_equal(*decoded, made.header);
  }
}

TEST(Header, TheMacIsTheReadersBusiness) {
  HeaderSample made = header_sample();
  std::fill(made.slot.begin() + 4064, made.slot.end(), std::uint8_t{0xff});
  EXPECT_TRUE(decode_header(made.slot).ok());
  EXPECT_EQ(kHeaderMacOffset, 4064U);
}

TEST(Header, RoundTripsRandomHeaders) {
  constexpr std::uint64_t kSeed = 21;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  for (int i = 0; i < 2000; ++i) {
    FileHeader header;
    header.suite = static_cast<std::uint16_t>(choose.between(1, 2));
    header.chunk_log2 = static_cast<unsigned>(choose.between(12, 20));
    header.store = choose.id<StoreId>();
    header.file = choose.id<FileId>();
    header.dek_version = KeyVersion{static_cast<std::uint32_t>(choose.next())};
    header.scope = ScopeId{static_cast<std::uint32_t>(choose.next())};
    header.plain_size = choose.below(kMaxPlainSize + 1);
    header.generation = choose.next() | 1;
    choose.fill(header.root);
    choose.fill(header.commitment);
    header.bindings.resize(choose.below(kMaxFileBindings + 1));
    for (Binding& binding : header.bindings) choose.fill(binding);
    Block slot;
    encode_header(header, slot);
    const auto decoded = decode_header(slot);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message();
    expect_equal(*decoded, header);
    if (HasFailure()) return;
  }
}

TEST(Header, EachMagicByteCounts) {
  for (std::size_t i = 0; i < 8; ++i) {
    HeaderSample made = header_sample();
    made.slot[i] ^= 0x20;
    EXPECT_EQ(code_of(made.slot), Code::kCorrupt) << "byte " << i;
  }
}

TEST(Header, OtherVersionsAreUnknown) {
  for (const unsigned version : {0U, 2U, 3U, 0x0100U, 0x0101U, 0xffffU}) {
    HeaderSample made = header_sample();
    store_le(made.slot, 8, static_cast<std::uint16_t>(version));
    EXPECT_EQ(code_of(made.slot), Code::kUnknownVersion) << version;
  }
}

TEST(Header, OtherLengthsAreRefused) {
  const HeaderSample made = header_sample();
  ByteVector longer(made.slot.begin(), made.slot.end());
  longer.push_back(0);
  for (std::size_t length = 0; length < 4096; ++length) {
    ASSERT_EQ(decode_header(Bytes(made.slot).first(length)).error().code, Code::kCorrupt) << length;
  }
  EXPECT_EQ(decode_header(longer).error().code, Code::kCorrupt);
  EXPECT_EQ(decode_header(ByteVector(8192)).error().code, Code::kCorrupt);
}

TEST(Header, AllZeroIsNoHeaderYet) {
  EXPECT_EQ(code_of(Block{}), Code::kNotFound);
  // One bit anywhere, and it is a damaged one.
  for (std::size_t i = 0; i < 4096; ++i) {
    Block slot{};
    slot[i] = 1;
    ASSERT_EQ(code_of(slot), Code::kCorrupt) << "byte " << i;
  }
}

TEST(Header, EachReservedByteIsZero) {
  std::vector<std::size_t> reserved = {13};
  for (std::size_t i = 136; i < 192; ++i) reserved.push_back(i);
  for (std::size_t i = 224; i < 256; ++i) reserved.push_back(i);
  for (const std::size_t at : reserved) {
    for (const unsigned value : {0x01U, 0x80U}) {
      HeaderSample made = header_sample();
      ASSERT_EQ(made.slot[at], 0) << at;
      made.slot[at] = static_cast<std::uint8_t>(value);
      EXPECT_EQ(code_of(made.slot), Code::kCorrupt) << "byte " << at;
    }
  }
}

TEST(Header, EachUnusedBindingByteIsZero) {
  for (const std::size_t bindings : {0U, 3U, 237U}) {
    for (std::size_t at = 256 + 16 * bindings; at < 4064; ++at) {
      HeaderSample made = header_sample(bindings);
      made.slot[at] = 1;
      ASSERT_EQ(code_of(made.slot), Code::kCorrupt) << "byte " << at << ", bindings " << bindings;
    }
  }
}

TEST(Header, EachRangeHasItsEnds) {
  struct Range {
    const char* what;
    std::function<void(Block&, std::uint64_t)> set;
    std::vector<std::uint64_t> good;
    std::vector<std::uint64_t> bad;
  };
  const auto set16 = [](std::size_t at) {
    return
        [at](Block& slot, std::uint64_t v) { store_le(slot, at, static_cast<std::uint16_t>(v)); };
  };
  const auto set8 = [](std::size_t at) {
    return [at](Block& slot, std::uint64_t value) { slot[at] = static_cast<std::uint8_t>(value); };
  };
  const auto set64 = [](std::size_t at) {
    return [at](Block& slot, std::uint64_t value) { store_le(slot, at, value); };
  };
  const std::vector<Range> ranges = {
      {"suite", set16(10), {1, 2}, {0, 3, 4, 0x0100, 0x0101, 0x0201, 0xffff}},
      {"chunk size", set8(12), {12, 13, 19, 20}, {0, 1, 11, 21, 32, 64, 255}},
      {"bindings", set16(14), {3}, {239, 240, 0x0103, 0xffff}},
      {"plaintext size",
       set64(56),
       {0, 1, kMaxPlainSize - 1, kMaxPlainSize},
       {kMaxPlainSize + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}},
      {"generation", set64(64), {1, 2, std::uint64_t{1} << 63, ~std::uint64_t{0}}, {0}},
  };
  for (const Range& range : ranges) {
    for (const std::uint64_t value : range.good) {
      HeaderSample made = header_sample();
      range.set(made.slot, value);
      EXPECT_TRUE(decode_header(made.slot).ok()) << range.what << ' ' << value;
    }
    for (const std::uint64_t value : range.bad) {
      HeaderSample made = header_sample();
      range.set(made.slot, value);
      EXPECT_EQ(code_of(made.slot), Code::kCorrupt) << range.what << ' ' << value;
    }
  }
}

TEST(Header, ABindingMoreOrLessThanListedIsRefusedOrSeen) {
  // Fewer than are there: what lies behind is not zero. More: the added one is zeros, and a MAC
  // that any header may hold.
  HeaderSample made = header_sample(3);
  made.slot[14] = 2;
  EXPECT_EQ(code_of(made.slot), Code::kCorrupt);
  made.slot[14] = 4;
  const auto decoded = decode_header(made.slot);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->bindings.size(), 4U);
}

TEST(Header, WhateverIsAcceptedEncodesToTheSameBytes) {
  constexpr std::uint64_t kSeed = 22;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  const Block valid = header_sample(100).slot;
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    Block slot = valid;
    const std::uint64_t changes = choose.between(1, 4);
    for (std::uint64_t k = 0; k < changes; ++k) {
      // Mostly where the fields are.
      const std::uint64_t at = choose.one_in(4) ? choose.below(4096) : choose.below(260);
      slot[at] = choose.one_in(2) ? choose.byte() : static_cast<std::uint8_t>(choose.below(4));
    }
    const auto decoded = decode_header(slot);
    if (!decoded) continue;
    ++accepted;
    Block again;
    encode_header(*decoded, again);
    ASSERT_TRUE(equal(Bytes(slot).first(kHeaderMacOffset), Bytes(again).first(kHeaderMacOffset)))
        << to_hex(Bytes(slot).first(260));
  }
  // Both ways have to happen for this to say anything.
  EXPECT_GT(accepted, 10'000);
  EXPECT_LT(accepted, 190'000);
}

TEST(Header, GarbageIsRefused) {
  constexpr std::uint64_t kSeed = 23;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  const std::string_view magic = "COFFER-F";
  for (int i = 0; i < 20'000; ++i) {
    ByteVector slot = choose.bytes(choose.one_in(4) ? choose.below(5000) : 4096);
    // Half of it gets past the magic and the version.
    if (slot.size() > 10 && choose.one_in(2)) {
      std::copy(magic.begin(), magic.end(), slot.begin());
      slot[8] = 1;
      slot[9] = 0;
    }
    ASSERT_FALSE(decode_header(slot).ok()) << "round " << i;
  }
}

}  // namespace
}  // namespace coffer
