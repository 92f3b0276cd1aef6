#include "keystore/kms/crc32c.h"

#include <gtest/gtest.h>

#include <numeric>

namespace coffer {
namespace {

/// RFC 3720, B.4, and the check value of the catalogues.
TEST(Crc32c, Vectors) {
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283U);
  ByteVector bytes(32);
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  bytes.assign(32, 0xff);
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
}

}  // namespace
}  // namespace coffer
