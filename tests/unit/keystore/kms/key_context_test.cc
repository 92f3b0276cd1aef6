#include "keystore/kms/key_context.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/vectors.h"

namespace coffer {
namespace {

using testing::unhex;
using Purpose = KeyContext::Purpose;

KeyContext full_context() {
  KeyContext context;
  context.purpose = Purpose::kDek;
  context.store = StoreId::from(unhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"));
  context.scope = ScopeId{0x01020304};
  context.wrapping_kek = KeyVersion{0x11121314};
  context.file = FileId::from(unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"));
  context.version = KeyVersion{0x21222324};
  return context;
}

TEST(KeyContext, IsEncodedAsTheFormatSays) {
  EXPECT_EQ(to_hex(full_context().encode()),
            "636f666665722f312f777270"          // 0: coffer/1/wrp
            "04000000"                          // 12: purpose
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // 16: store id
            "04030201"                          // 32: scope id
            "14131211"                          // 36: version of the wrapping KEK
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"  // 40: file id
            "24232221"                          // 56: version of the wrapped key
            "00000000");                        // 60: reserved
}

TEST(KeyContext, OfAPolicyKey) {
  KeyContext context;
  context.store = StoreId::from(unhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"));
  context.version = KeyVersion{1};
  EXPECT_EQ(to_hex(context.encode()),
            "636f666665722f312f77727001000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
            "0000000000000000000000000000000000000000000000000100000000000000");
}

TEST(KeyContext, PurposesAreNumberedAsTheFormatSays) {
  const std::pair<Purpose, unsigned> numbers[] = {
      {Purpose::kPolicyKey, 1}, {Purpose::kKek, 2}, {Purpose::kScopeSecret, 3}, {Purpose::kDek, 4}};
  for (const auto& [purpose, number] : numbers) {
    KeyContext context;
    context.purpose = purpose;
    EXPECT_EQ(load_le<std::uint32_t>(context.encode(), 12), number);
  }
}

TEST(KeyContext, EveryFieldShows) {
  std::set<std::string> encoded;
  const auto add = [&](const KeyContext& context) {
    EXPECT_TRUE(encoded.insert(to_hex(context.encode())).second);
  };
  add(full_context());
  // The same number in another field is another context.
  for (int field = 0; field < 6; ++field) {
    for (unsigned byte = 0; byte < 4; ++byte) {
      const std::uint32_t changed = 0xc0U << (8 * byte);
      KeyContext context = full_context();
      if (field == 0) context.scope.value ^= changed;
      if (field == 1) context.wrapping_kek.value ^= changed;
      if (field == 2) context.version.value ^= changed;
      if (field == 3) context.store.bytes[byte * 5] ^= 0xc0;
      if (field == 4) context.file.bytes[byte * 5] ^= 0xc0;
      if (field == 5) context.purpose = static_cast<Purpose>(5 + byte);
      add(context);
    }
  }
}

}  // namespace
}  // namespace coffer
