// Symlink targets as text; fs/names/stored_test.cc has them on disk.

#include <gtest/gtest.h>

#include "fs/names/scope_names.h"
#include "tests/support/fs_random.h"
#include "tests/unit/fs/names/names_fixture.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::golden_dir;
using testing::golden_names;
using testing::seed_trace;
using testing::sidecar_of;

constexpr std::size_t kLongestInline = 3023;

class Targets : public ::testing::Test {
 protected:
  ScopeNames names_ = golden_names();
  Binding first_ = names_.bind_symlink(golden_dir(), "link");
  Binding second_ = names_.bind_symlink(golden_dir(), "renamed");
};

TEST_F(Targets, EveryLengthRoundTripsAndIsKnownFromTheStoredOne) {
  constexpr std::uint64_t kSeed = 311;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  for (std::size_t length = 1; length <= 4095; ++length) {
    std::string target(length, 'x');
    for (char& letter : target) letter = static_cast<char>(choose.between(1, 255));
    const Binding second = choose.one_in(2) ? second_ : Binding{};
    const StoredText stored = names_.encode_target(target, first_, second);
    ASSERT_LE(stored.text.size(), 4095U);
    ASSERT_EQ(stored.sidecar.has_value(), length > kLongestInline) << length;
    ASSERT_EQ(ScopeNames::is_long_target(stored.text), length > kLongestInline) << length;
    if (length > kLongestInline) {
      ASSERT_EQ(stored.text.size(), ScopeNames::kLongTargetLength);
      ASSERT_EQ(ScopeNames::long_target_length(stored.sidecar->content.size()), length);
      ASSERT_EQ(stored.sidecar->name, stored.text);
    } else {
      ASSERT_NE(stored.text.size(), ScopeNames::kLongTargetLength);
      ASSERT_EQ(ScopeNames::target_length(stored.text.size()), length);
    }
    const auto decoded = names_.decode_target(stored.text, sidecar_of(stored));
    ASSERT_TRUE(decoded.ok()) << length << ": " << decoded.error().message();
    ASSERT_EQ(decoded->text, target);
    ASSERT_EQ(decoded->first, first_);
    ASSERT_EQ(decoded->second, second);
  }
}

TEST_F(Targets, TargetsAreNotNames) {
  // One scope, two keys: a name's ciphertext as a target, and the other way round.
  const std::string name = names_.encode_name(golden_dir(), std::string(60, 'n'))->text;
  EXPECT_FALSE(names_.decode_target(name).ok());
  const std::string target = names_.encode_target("target", first_, Binding{}).text;
  EXPECT_FALSE(names_.decode_name(golden_dir(), target).ok());
}

TEST_F(Targets, AlteredTextsAreRefused) {
  const std::string text = names_.encode_target("../models/v2", first_, Binding{}).text;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string altered = text;
    altered[i] = altered[i] == 'A' ? 'B' : 'A';
    ASSERT_EQ(names_.decode_target(altered).error().code, Code::kCorrupt) << i;
    ASSERT_EQ(names_.decode_target(text.substr(0, i)).error().code, Code::kCorrupt) << i;
  }
}

TEST_F(Targets, ForeignTextsAreRefused) {
  const std::string hash = to_base64url(sha256(Bytes()));
  const std::string prefix(kTargetSidecarPrefix);
  for (const std::string& text : std::vector<std::string>{
           "", ".", "..", "/etc/passwd", "../../../etc/passwd", "plain", "AAAA",
           std::string(4095, 'A'), std::string(58, 'A'), std::string("\0", 1), "not base64!",
           prefix, prefix + hash, prefix + hash.substr(1), prefix + hash + "A"}) {
    const auto decoded = names_.decode_target(text);
    ASSERT_FALSE(decoded.ok()) << text;
    EXPECT_EQ(decoded.error().code, Code::kCorrupt) << text;
    EXPECT_EQ(decoded.error().errno_value, EIO) << text;
  }
}

TEST_F(Targets, TheLongFormIsCheckedWholly) {
  // The text becomes a file name in the backing: it has to be one, in the very directory.
  const std::string hash(43, 'h');
  const std::string prefix(kTargetSidecarPrefix);
  EXPECT_TRUE(ScopeNames::is_long_target(prefix + hash));
  for (const std::string& text : std::vector<std::string>{
           prefix, prefix + hash.substr(1), prefix + hash + "h",
           prefix + "/../../../../../../../../../../../../etc/x",
           prefix + std::string(20, 'h') + "/" + std::string(22, 'h'),
           prefix + std::string(42, 'h') + "/", prefix + "/" + std::string(42, 'h'),
           ".coffer.Target." + hash, ".coffer.name.xx" + hash, std::string(58, '.'),
           std::string(58, '/'), "", "/" + prefix.substr(1) + hash}) {
    EXPECT_FALSE(ScopeNames::is_long_target(text)) << text;
  }
  const std::string climbing = prefix + "/../" + std::string(39, 'h');
  ASSERT_EQ(climbing.size(), ScopeNames::kLongTargetLength);
  EXPECT_FALSE(ScopeNames::is_long_target(climbing));
}

TEST_F(Targets, AlteredSidecarsAreRefused) {
  const StoredText stored = names_.encode_target(std::string(4000, 't'), first_, Binding{});
  const ByteVector content = stored.sidecar->content;
  EXPECT_EQ(names_.decode_target(stored.text).error().code, Code::kCorrupt);
  for (std::size_t i = 0; i < content.size(); i += 97) {
    ByteVector altered = content;
    altered[i] ^= 1;
    ASSERT_EQ(names_.decode_target(stored.text, altered).error().code, Code::kCorrupt);
    // With the text that goes with it, it fails to authenticate.
    const std::string text = std::string(kTargetSidecarPrefix) + to_base64url(sha256(altered));
    ASSERT_EQ(names_.decode_target(text, altered).error().code, Code::kCorrupt);
  }
  ByteVector longer = content;
  longer.push_back(0);
  EXPECT_FALSE(names_.decode_target(stored.text, longer).ok());
}

TEST_F(Targets, AShortTargetHasNoLongForm) {
  for (const std::size_t length : {std::size_t{1}, kLongestInline}) {
    const ByteVector sealed =
        *from_base64url(names_.encode_target(std::string(length, 't'), first_, Binding{}).text);
    const std::string text = std::string(kTargetSidecarPrefix) + to_base64url(sha256(sealed));
    EXPECT_EQ(names_.decode_target(text, sealed).error().code, Code::kCorrupt);
  }
}

TEST_F(Targets, LengthsOfForeignTextsDoNotUnderflow) {
  for (std::uint64_t length = 0; length <= 64; ++length) {
    EXPECT_EQ(ScopeNames::target_length(length), length < 66 ? 0U : 1U) << length;
    EXPECT_EQ(ScopeNames::long_target_length(length), length > 48 ? length - 48 : 0) << length;
  }
  EXPECT_EQ(ScopeNames::target_length(66), 1U);
}

}  // namespace
}  // namespace coffer
