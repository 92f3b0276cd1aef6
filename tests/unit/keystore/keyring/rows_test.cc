#include "keystore/keyring/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coffer {
namespace {

template <typename Enum, typename Parse>
void expect_round_trip(std::initializer_list<std::pair<Enum, std::string_view>> table,
                       Parse parse) {
  for (const auto& [value, name] : table) {
    EXPECT_EQ(to_string(value), name);
    ASSERT_TRUE(parse(name).ok()) << name;
    EXPECT_EQ(*parse(name), value);
  }
  for (const std::string_view name : {"", " ", "unknown", "Public", "KEK", "kek ", "1"}) {
    const auto refused = parse(name);
    ASSERT_FALSE(refused.ok()) << name;
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    // The error names what there is.
    for (const auto& [value, known] : table) {
      EXPECT_THAT(refused.error().context, ::testing::HasSubstr(known));
    }
  }
}

TEST(Rows, NamesModesAreNamed) {
  expect_round_trip<NamesMode>({{NamesMode::kEncrypted, "encrypted"}, {NamesMode::kPlain, "plain"}},
                               names_mode_from_name);
}

TEST(Rows, SensitivitiesAreNamed) {
  expect_round_trip<Sensitivity>({{Sensitivity::kPublic, "public"},
                                  {Sensitivity::kInternal, "internal"},
                                  {Sensitivity::kConfidential, "confidential"},
                                  {Sensitivity::kRestricted, "restricted"}},
                                 sensitivity_from_name);
}

TEST(Rows, WrapsAreNamed) {
  expect_round_trip<Wrap>({{Wrap::kKek, "kek"}, {Wrap::kDirect, "direct"}}, wrap_from_name);
}

TEST(Rows, KeyStatesAreNamedAndNumberedAsInTheFormat) {
  const std::pair<int, std::string_view> table[] = {{1, "pre-activation"}, {2, "active"},
                                                    {3, "suspended"},      {4, "deactivated"},
                                                    {5, "compromised"},    {6, "destroyed"}};
  for (const auto& [number, name] : table) {
    EXPECT_EQ(to_string(static_cast<KeyState>(number)), name);
  }
  EXPECT_EQ(to_string(static_cast<KeyState>(0)), "unknown");
  EXPECT_EQ(to_string(static_cast<KeyState>(7)), "unknown");
  EXPECT_EQ(to_string(static_cast<Wrap>(3)), "unknown");
}

TEST(Rows, DefaultsAreTheDesigns) {
  const ScopeSettings settings;
  EXPECT_EQ(settings.sensitivity, Sensitivity::kInternal);
  EXPECT_EQ(settings.suite, Suite::kAes256Gcm);
  EXPECT_EQ(settings.wrap, Wrap::kKek);
  EXPECT_EQ(settings.retention_s, 7 * 24 * 3600);
}

}  // namespace
}  // namespace coffer
