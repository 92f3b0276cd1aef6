#include "keystore/base/ids.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace coffer {
namespace {

static_assert(!std::is_convertible_v<FileId, DirId> && !std::is_constructible_v<FileId, DirId>);
static_assert(!std::is_convertible_v<FileId, StoreId>);
static_assert(!std::is_convertible_v<ScopeId, KeyVersion>);
static_assert(!std::is_convertible_v<ScopeId, std::uint32_t>);
static_assert(!std::is_convertible_v<std::uint32_t, ScopeId>);
static_assert(sizeof(FileId) == 16);

TEST(Id128, IsZeroUntilSet) {
  EXPECT_TRUE(all_zero(FileId{}.view()));
  EXPECT_EQ(FileId{}.hex(), "00000000000000000000000000000000");
}

TEST(Id128, TakesSixteenBytes) {
  const ByteVector source = *from_hex("000102030405060708090a0b0c0d0e0f10");
  const FileId id = FileId::from(source);
  EXPECT_EQ(id.hex(), "000102030405060708090a0b0c0d0e0f");
  EXPECT_TRUE(equal(id.view(), Bytes(source).first(16)));
}

TEST(Id128, OrdersAsItsBytesDo) {
  // A file id begins with its time, big-endian: order of bytes is order of making.
  const FileId early = FileId::from(*from_hex("0190000000ffffffffffffffffffffff"));
  const FileId late = FileId::from(*from_hex("01900000010000000000000000000000"));
  EXPECT_LT(early, late);
  EXPECT_EQ(early, FileId::from(early.view()));
  EXPECT_NE(early, late);
  EXPECT_LT(FileId::from(*from_hex("7f000000000000000000000000000000")),
            FileId::from(*from_hex("80000000000000000000000000000000")));
}

TEST(Id128, HashesByItsRandomTail) {
  // Ids of one millisecond share their first bytes; those of one batch must not share a bucket.
  std::unordered_set<std::size_t> hashes;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    FileId id = FileId::from(*from_hex("01900000000000000000000000000000"));
    store_le(id.bytes, 12, i * 2'654'435'761U);
    hashes.insert(std::hash<FileId>{}(id));
  }
  EXPECT_EQ(hashes.size(), 1000U);
}

TEST(StrongNumber, ComparesAndHashes) {
  EXPECT_EQ(kRootScope.value, 1U);
  EXPECT_EQ(ScopeId{}.value, 0U);
  EXPECT_LT(KeyVersion{1}, KeyVersion{2});
  EXPECT_EQ(GrantId{5}, GrantId{5});
  std::unordered_set<ScopeId> scopes{ScopeId{1}, ScopeId{2}, ScopeId{1}};
  EXPECT_EQ(scopes.size(), 2U);
}

}  // namespace
}  // namespace coffer
