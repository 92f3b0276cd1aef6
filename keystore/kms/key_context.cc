#include "keystore/kms/key_context.h"

#include <algorithm>

namespace coffer {

std::array<std::uint8_t, 64> KeyContext::encode() const {
  std::array<std::uint8_t, 64> out{};
  const Bytes label = as_bytes("coffer/1/wrp");
  std::copy(label.begin(), label.end(), out.begin());
  store_le(out, 12, static_cast<std::uint32_t>(purpose));
  std::copy(store.bytes.begin(), store.bytes.end(), out.begin() + 16);
  store_le(out, 32, scope.value);
  store_le(out, 36, wrapping_kek.value);
  std::copy(file.bytes.begin(), file.bytes.end(), out.begin() + 40);
  store_le(out, 56, version.value);
  return out;
}

}  // namespace coffer
