#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::change_policy_by_hand;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

constexpr ScopeFlags kNone{};
constexpr ScopeFlags kStrict{.strict = true, .purge = false};
constexpr ScopeFlags kPurge{.strict = false, .purge = true};
constexpr ScopeFlags kBoth{.strict = true, .purge = true};

class ScopeFlagsTest : public ::testing::Test {
 protected:
  ScopeFlags flags_of(ScopeId scope) {
    const PolicySnapshot policy = must_be(store_.open()->policy());
    const auto row = std::find_if(policy.scopes.begin(), policy.scopes.end(),
                                  [&](const ScopeRow& each) { return each.id == scope; });
    EXPECT_NE(row, policy.scopes.end());
    return row->settings.flags;
  }
  ScopeId add(const std::string& path, ScopeFlags flags) {
    ScopeSettings settings;
    settings.flags = flags;
    return must_be(store_.open()->add_scope(path, DirId{}, settings));
  }
  std::vector<std::string> rows() {
    return RawDatabase(store_.path)
        .column("SELECT name || ' ' || hex(value) FROM meta WHERE name LIKE 'scope:%';");
  }

  TestStore store_;
};

TEST_F(ScopeFlagsTest, AreThoseThatAScopeWasMadeWith) {
  for (const ScopeFlags flags : {kNone, kStrict, kPurge, kBoth}) {
    const ScopeId scope =
        add("/" + std::to_string(flags.strict) + std::to_string(flags.purge), flags);
    EXPECT_EQ(flags_of(scope), flags);
    EXPECT_EQ(flags_of(kRootScope), kNone);
  }
  EXPECT_THAT(rows(), ::testing::ElementsAre("scope:3 01", "scope:4 02", "scope:5 03"));
}

TEST_F(ScopeFlagsTest, AreSetAndTakenBack) {
  const ScopeId scope = add("/other", kNone);
  for (const ScopeFlags flags : {kStrict, kBoth, kPurge, kNone, kNone}) {
    must_be(store_.open()->set_scope_flags(scope, flags));
    EXPECT_EQ(flags_of(scope), flags);
  }
  EXPECT_THAT(rows(), ::testing::IsEmpty());
  must_be(store_.open()->set_scope_flags(kRootScope, kStrict));
  EXPECT_EQ(flags_of(kRootScope), kStrict);
  EXPECT_EQ(outcome(store_.open()->set_scope_flags(ScopeId{99}, kStrict)), "not-found");
}

TEST_F(ScopeFlagsTest, GoWithTheScope) {
  const ScopeId scope = add("/other", kBoth);
  must_be(store_.open()->remove_scope(scope));
  EXPECT_THAT(rows(), ::testing::IsEmpty());
  EXPECT_EQ(outcome(store_.check()), "ok");
}

/// By whoever can write the file and has no key.
TEST_F(ScopeFlagsTest, CanNotBeDroppedUnseen) {
  const ScopeId scope = add("/other", kStrict);
  const auto live = store_.open();
  for (const char* attack : {"DELETE FROM meta WHERE name = 'scope:2';",
                             "INSERT OR REPLACE INTO meta VALUES ('scope:2', x'02');",
                             "UPDATE meta SET value = x'03' WHERE name = 'scope:2';",
                             "INSERT INTO meta VALUES ('scope:1', x'01');"}) {
    RawDatabase(store_.path).run(attack);
    EXPECT_EQ(outcome(live->policy()), "corrupt") << attack;
    EXPECT_EQ(outcome(store_.check()), "corrupt") << attack;
    EXPECT_EQ(outcome(live->set_scope_flags(scope, kNone)), "corrupt") << attack;
    RawDatabase(store_.path)
        .run(
            "DELETE FROM meta WHERE name LIKE 'scope:%';"
            "INSERT INTO meta VALUES ('scope:2', x'01');");
    EXPECT_EQ(outcome(store_.check()), "ok");
  }
}

TEST_F(ScopeFlagsTest, OfAnotherFormAreRefused) {
  add("/other", kNone);
  const auto say = [&](const std::string& row) {
    change_policy_by_hand(store_, "INSERT INTO meta VALUES " + row + ";");
    const std::string said = outcome(store_.check());
    change_policy_by_hand(store_, "DELETE FROM meta WHERE name LIKE 'scope:%';");
    return said;
  };
  EXPECT_EQ(say("('scope:2', x'03')"), "ok");
  EXPECT_EQ(say("('scope:2', x'04')"), "unknown-version") << "of a newer program";
  EXPECT_EQ(say("('scope:2', x'00')"), "corrupt");
  EXPECT_EQ(say("('scope:2', x'0101')"), "corrupt");
  EXPECT_EQ(say("('scope:2', x'')"), "corrupt");
  EXPECT_EQ(say("('scope:02', x'01')"), "corrupt");
  EXPECT_EQ(say("('scope:3', x'01')"), "corrupt") << "there is no such scope";
  EXPECT_EQ(say("('scope:', x'01')"), "corrupt");
}

}  // namespace
}  // namespace coffer
