#include "fs/format/xattr_set.h"

#include <gtest/gtest.h>

#include "tests/support/fs_random.h"

namespace coffer {
namespace {

using testing::Chooser;

ByteVector bytes(std::string_view text) { return {text.begin(), text.end()}; }

Code xattr_code(Bytes plain) {
  const auto decoded = decode_xattrs(plain);
  EXPECT_FALSE(decoded.ok());
  return decoded ? Code::kIo : decoded.error().code;
}

int errno_of(const XattrSet& set) {
  const auto checked = check_xattr_limits(set);
  return checked ? 0 : checked.error().errno_value;
}

TEST(XattrSet, HasTheBytesOfTheFormat) {
  const XattrSet set = {{"user.b", bytes("two")}, {"user.a", {}}};
  const std::string expected = to_hex(ByteWriter()
                                          .le(std::uint16_t{6})
                                          .le(std::uint32_t{0})
                                          .text("user.a")
                                          .le(std::uint16_t{6})
                                          .le(std::uint32_t{3})
                                          .text("user.btwo")
                                          .data());
  EXPECT_EQ(to_hex(encode_xattrs(set)), expected);
  EXPECT_EQ(decode_xattrs(encode_xattrs(set)).value(), set);
}

TEST(XattrSet, EveryOtherFormIsRefused) {
  const auto entry = [](std::string_view name, std::string_view value) {
    return ByteWriter()
        .le(static_cast<std::uint16_t>(name.size()))
        .le(static_cast<std::uint32_t>(value.size()))
        .text(name)
        .text(value)
        .take();
  };
  const auto both = [](ByteVector one, const ByteVector& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
  };
  EXPECT_EQ(xattr_code({}), Code::kCorrupt) << "none";
  EXPECT_EQ(xattr_code(entry("", "value")), Code::kCorrupt) << "no name";
  EXPECT_EQ(xattr_code(entry(std::string(256, 'n'), "")), Code::kCorrupt);
  EXPECT_EQ(xattr_code(entry("user.a", std::string(65537, 'v'))), Code::kCorrupt);
  EXPECT_EQ(xattr_code(both(entry("user.b", ""), entry("user.a", ""))), Code::kCorrupt) << "order";
  EXPECT_EQ(xattr_code(both(entry("user.a", ""), entry("user.a", "x"))), Code::kCorrupt) << "twice";
  const ByteVector whole = both(entry("user.a", "1"), entry("user.b", "22"));
  EXPECT_TRUE(decode_xattrs(whole).ok());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    if (length == entry("user.a", "1").size()) continue;
    EXPECT_EQ(xattr_code(Bytes(whole).first(length)), Code::kCorrupt) << length;
  }
}

TEST(XattrSet, LimitsHaveTheirErrnos) {
  EXPECT_EQ(errno_of({{std::string(255, 'n'), ByteVector(65536)}}), 0);
  EXPECT_EQ(errno_of({{std::string(256, 'n'), {}}}), ERANGE);
  EXPECT_EQ(errno_of({{"user.a", ByteVector(65537)}}), E2BIG);
  XattrSet many;
  for (int i = 0; i < 15; ++i) many["user." + std::to_string(i)] = ByteVector(65536);
  EXPECT_EQ(errno_of(many), 0);
  many["user.last"] = ByteVector(65536);
  EXPECT_EQ(errno_of(many), ENOSPC) << "a megabyte in all";
  XattrSet names;
  for (int i = 0; i < 256; ++i) names[std::string(252, 'n') + std::to_string(100 + i)] = {};
  EXPECT_EQ(errno_of(names), 0);
  names["n"] = {};
  EXPECT_EQ(errno_of(names), ENOSPC) << "a list longer than listxattr gives";
}

TEST(XattrSet, WhateverIsAcceptedEncodesToTheSameBytes) {
  constexpr std::uint64_t kSeed = 41;
  SCOPED_TRACE(testing::seed_trace(kSeed));
  Chooser choose(kSeed);
  const ByteVector valid =
      encode_xattrs({{"user.a", bytes("1")}, {"user.bcd", bytes("22")}, {"user.e", {}}});
  int accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    ByteVector plain = valid;
    for (std::uint64_t k = choose.between(1, 3); k > 0; --k) {
      plain[choose.below(plain.size())] =
          choose.one_in(2) ? choose.byte() : static_cast<std::uint8_t>(choose.below(9));
    }
    if (choose.one_in(4)) plain.resize(choose.below(plain.size() + 1));
    const auto decoded = decode_xattrs(plain);
    if (!decoded) continue;
    ++accepted;
    ASSERT_EQ(encode_xattrs(*decoded), plain);
  }
  EXPECT_GT(accepted, 5'000);
  EXPECT_LT(accepted, 95'000);
}

}  // namespace
}  // namespace coffer
