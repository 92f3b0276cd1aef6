#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "keystore/crypto/aead.h"

namespace coffer {

/// An engine and a suite: what each test of AeadKey's promises runs on.
struct AeadVariant {
  const char* name;
  AeadEngine::Choice choice;
  Suite suite;
};

inline void PrintTo(const AeadVariant& variant, std::ostream* out) { *out << variant.name; }

inline std::string aead_variant_name(const ::testing::TestParamInfo<AeadVariant>& variant) {
  return variant.param.name;
}

inline constexpr AeadVariant kAeadVariants[] = {
    {"FastestGcm", AeadEngine::Choice::kFastest, Suite::kAes256Gcm},
    {"OpenSslGcm", AeadEngine::Choice::kOpenSsl, Suite::kAes256Gcm},
    {"ChaCha", AeadEngine::Choice::kOpenSsl, Suite::kChaCha20Poly1305},
};

inline std::unique_ptr<const AeadKey> expand_key(const AeadVariant& variant, Bytes key) {
  auto engine = AeadEngine::create(variant.choice);
  if (!engine) std::abort();
  return engine->expand(variant.suite, key);
}

/// Bytes that look random and are the same in each run.
inline ByteVector patterned(std::size_t length, std::uint32_t seed) {
  ByteVector bytes(length);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (auto& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<std::uint8_t>(state >> 32);
  }
  return bytes;
}

template <std::size_t Size>
std::array<std::uint8_t, Size> patterned_array(std::uint32_t seed) {
  std::array<std::uint8_t, Size> out{};
  const ByteVector bytes = patterned(Size, seed);
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

/// 0 … 300, and the powers of two up to 1 MiB with their neighbours.
inline std::vector<std::size_t> interesting_lengths() {
  std::vector<std::size_t> lengths;
  for (std::size_t length = 0; length <= 300; ++length) lengths.push_back(length);
  for (std::size_t power = 512; power <= (1U << 20); power *= 2) {
    for (const std::size_t length : {power - 1, power, power + 1}) lengths.push_back(length);
  }
  return lengths;
}

}  // namespace coffer
