#include "keystore/kms/crc32c.h"

namespace coffer {

std::uint32_t crc32c(Bytes data) {
  constexpr std::uint32_t kPolynomial = 0x82f63b78;  // its bits in reverse
  std::uint32_t crc = 0xffffffff;
  for (const std::uint8_t byte : data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ (kPolynomial & (0U - (crc & 1U)));
  }
  return ~crc;
}

}  // namespace coffer
