#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::everyone_grant;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;

DirId dir_id(std::uint8_t byte) {
  DirId id;
  id.bytes.fill(byte);
  return id;
}

TEST(KeyringPolicy, NotesExtendedAttributesForGood) {
  TestStore store;
  const auto keyring = store.open();
  EXPECT_FALSE(must_be(keyring->policy()).xattrs);
  EXPECT_EQ(outcome(keyring->allow_xattrs()), "ok");
  EXPECT_EQ(outcome(keyring->allow_xattrs()), "ok") << "and again";
  const PolicySnapshot policy = must_be(store.open()->policy());
  EXPECT_TRUE(policy.xattrs);
  EXPECT_EQ(policy.generation, 3U);
  // Under the policy's MAC: it can't be taken back.
  RawDatabase(store.path).run("DELETE FROM meta WHERE name = 'xattrs'");
  EXPECT_EQ(outcome(keyring->policy()), "corrupt");
}

TEST(KeyringPolicy, KeepsScopesWithTheirSettings) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeSettings settings{.sensitivity = Sensitivity::kPublic,
                               .suite = Suite::kChaCha20Poly1305,
                               .chunk_log2 = 20,
                               .wrap = Wrap::kDirect,
                               .retention_s = 123};
  // A path is bytes.
  const std::string odd = "/mod\xff\x01 els\n/\xe2\x82\xac";
  EXPECT_EQ(must_be(keyring->add_scope("/models", dir_id(1), settings)), ScopeId{2});
  EXPECT_EQ(must_be(keyring->add_scope(odd, dir_id(2), ScopeSettings{})), ScopeId{3});

  const PolicySnapshot policy = must_be(store.open()->policy());
  EXPECT_EQ(policy.generation, 3U);
  ASSERT_EQ(policy.scopes.size(), 3U);
  EXPECT_EQ(policy.scopes[1].path, "/models");
  EXPECT_EQ(policy.scopes[1].root_dir, dir_id(1));
  EXPECT_EQ(policy.scopes[1].settings.sensitivity, settings.sensitivity);
  EXPECT_EQ(policy.scopes[1].settings.suite, settings.suite);
  EXPECT_EQ(policy.scopes[1].settings.chunk_log2, settings.chunk_log2);
  EXPECT_EQ(policy.scopes[1].settings.wrap, settings.wrap);
  EXPECT_EQ(policy.scopes[1].settings.retention_s, settings.retention_s);
  EXPECT_EQ(policy.scopes[2].path, odd);
  EXPECT_EQ(policy.scopes[2].settings.wrap, Wrap::kKek);

  const std::vector<KekRow> keks = must_be(keyring->keks());
  ASSERT_EQ(keks.size(), 3U);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(keks[i].scope, ScopeId{i + 1});
    EXPECT_EQ(keks[i].version, KeyVersion{1});
    EXPECT_EQ(keks[i].state, KeyState::kActive);
  }
}

TEST(KeyringPolicy, EachScopeHasSecretAndKeysOfItsOwn) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeId other = must_be(keyring->add_scope("/other", dir_id(1), ScopeSettings{}));
  const SecretBytes first = must_be(keyring->scope_secret(kRootScope));
  const SecretBytes second = must_be(keyring->scope_secret(other));
  EXPECT_EQ(first.size(), 32U);
  EXPECT_EQ(second.size(), 32U);
  EXPECT_FALSE(constant_time_equal(first.expose(), second.expose()));
  EXPECT_TRUE(constant_time_equal(first.expose(),
                                  must_be(store.open()->scope_secret(kRootScope)).expose()));
  EXPECT_EQ(outcome(keyring->scope_secret(ScopeId{3})), "key-unavailable");
  EXPECT_EQ(outcome(keyring->make_deks(ScopeId{3}, 1)), "key-unavailable");
}

TEST(KeyringPolicy, RefusesAScopeThatIsThere) {
  TestStore store;
  const auto keyring = store.open();
  EXPECT_EQ(outcome(keyring->add_scope("/", dir_id(1), ScopeSettings{})), "exists");
  must_be(keyring->add_scope("/a", dir_id(1), ScopeSettings{}));
  EXPECT_EQ(outcome(keyring->add_scope("/a", dir_id(2), ScopeSettings{})), "exists");
  EXPECT_EQ(must_be(keyring->policy()).generation, 2U);
}

TEST(KeyringPolicy, TakesBackAScopeThatNothingBelongsTo) {
  TestStore store;
  const auto keyring = store.open();
  EXPECT_EQ(outcome(keyring->remove_scope(ScopeId{2})), "not-found");
  EXPECT_EQ(outcome(keyring->remove_scope(kRootScope)), "exists");
  EXPECT_EQ(must_be(keyring->policy()).generation, 1U);

  const ScopeId with_keys = must_be(keyring->add_scope("/keys", dir_id(1), ScopeSettings{}));
  must_be(keyring->make_deks(with_keys, 1));
  EXPECT_EQ(outcome(keyring->remove_scope(with_keys)), "exists");
  const ScopeId with_grant = must_be(keyring->add_scope("/grant", dir_id(1), ScopeSettings{}));
  must_be(keyring->add_grant(everyone_grant(with_grant)));
  EXPECT_EQ(outcome(keyring->remove_scope(with_grant)), "exists");

  const ScopeId unused = must_be(keyring->add_scope("/unused", dir_id(1), ScopeSettings{}));
  EXPECT_EQ(outcome(keyring->remove_scope(unused)), "ok");
  EXPECT_EQ(outcome(keyring->scope_secret(unused)), "key-unavailable");
  EXPECT_EQ(must_be(store.open()->policy()).scopes.size(), 3U);
}

TEST(KeyringPolicy, AScopesIdIsNeverUsedAgain) {
  // Whoever has the removed scope's KEK in a cache would wrap the new one's keys under it.
  TestStore store;
  const auto keyring = store.open();
  const ScopeId removed = must_be(keyring->add_scope("/a", dir_id(1), ScopeSettings{}));
  must_be(keyring->scope_secret(removed));
  must_be(keyring->remove_scope(removed));
  const ScopeId added = must_be(store.open()->add_scope("/a", dir_id(1), ScopeSettings{}));
  EXPECT_GT(added, removed);
  const Dek dek = std::move(must_be(keyring->make_deks(added, 1)).front());
  EXPECT_TRUE(equal(must_be(keyring->scope_secret(added)).expose(),
                    must_be(store.open()->scope_secret(added)).expose()));
  EXPECT_EQ(outcome(store.open()->dek(dek.file, dek.version)), "ok");
}

TEST(KeyringPolicy, RefusesAScopeThatCouldNotBeReadAgain) {
  TestStore store;
  const auto keyring = store.open();
  EXPECT_EQ(outcome(keyring->add_scope("/a", dir_id(1), {.chunk_log2 = 40})), "invalid");
  EXPECT_EQ(outcome(keyring->add_scope("/a", dir_id(1), {.retention_s = -5})), "invalid");
  EXPECT_EQ(must_be(keyring->policy()).scopes.size(), 1U);
  EXPECT_EQ(must_be(keyring->add_scope("/a", dir_id(1), ScopeSettings{})), ScopeId{2});
}

TEST(KeyringPolicy, KeepsGrants) {
  TestStore store;
  const auto keyring = store.open();
  GrantRow grant = selector_grant(kRootScope, {"unix:uid:7", "unix:gid:8"}, 6);
  grant.deny = true;
  grant.not_before = -1;
  grant.not_after = 4'102'444'800;
  grant.purpose = std::string("training\n'; DROP TABLE grants; --\0x", 36);
  grant.created_by = "";
  const GrantId id = must_be(keyring->add_grant(grant));
  EXPECT_EQ(id, GrantId{2});

  const PolicySnapshot policy = must_be(store.open()->policy());
  EXPECT_EQ(policy.generation, 2U);
  ASSERT_EQ(policy.grants.size(), 2U);
  const GrantRow& read = policy.grants[1];
  EXPECT_EQ(read.id, id);
  EXPECT_TRUE(read.deny);
  EXPECT_EQ(read.rights, 6);
  EXPECT_FALSE(read.everyone);
  EXPECT_EQ(read.not_before, -1);
  EXPECT_EQ(read.not_after, 4'102'444'800);
  EXPECT_EQ(read.purpose, grant.purpose);
  EXPECT_EQ(read.created_by, "");
  EXPECT_THAT(read.selectors, ::testing::ElementsAre("unix:gid:8", "unix:uid:7"));
}

TEST(KeyringPolicy, RefusesAGrantThatWouldMeanSomethingElse) {
  TestStore store;
  const auto keyring = store.open();
  const auto refused = [&](GrantRow grant) { return outcome(keyring->add_grant(grant)); };
  EXPECT_EQ(refused(everyone_grant(kRootScope, 0)), "invalid");
  EXPECT_EQ(refused(everyone_grant(kRootScope, 8)), "invalid");
  EXPECT_EQ(refused(everyone_grant(kRootScope, 255)), "invalid");
  EXPECT_EQ(refused(selector_grant(kRootScope, {})), "invalid");
  GrantRow both = everyone_grant(kRootScope);
  both.selectors = {"unix:uid:1"};
  EXPECT_EQ(refused(both), "invalid");
  EXPECT_EQ(refused(everyone_grant(ScopeId{2})), "not-found");
  EXPECT_EQ(refused(everyone_grant(ScopeId{})), "not-found");

  const PolicySnapshot policy = must_be(keyring->policy());
  EXPECT_EQ(policy.grants.size(), 1U);
  EXPECT_EQ(policy.generation, 1U);
}

TEST(KeyringPolicy, ARefusedGrantLeavesNoHalf) {
  TestStore store;
  const auto keyring = store.open();
  // The second of two equal selectors breaks the insert after the grant's own row was written.
  EXPECT_FALSE(keyring->add_grant(selector_grant(kRootScope, {"unix:uid:1", "unix:uid:1"})).ok());
  EXPECT_EQ(must_be(keyring->policy()).grants.size(), 1U);
  EXPECT_EQ(must_be(keyring->policy()).generation, 1U);
  EXPECT_EQ(outcome(store.check()), "ok");
}

TEST(KeyringPolicy, RevokesOnce) {
  TestStore store;
  const auto keyring = store.open();
  const std::int64_t before = store.clock.unix_seconds();
  EXPECT_EQ(outcome(keyring->revoke_grant(GrantId{2})), "not-found");
  EXPECT_EQ(outcome(keyring->revoke_grant(GrantId{1})), "ok");
  EXPECT_EQ(outcome(keyring->revoke_grant(GrantId{1})), "exists");
  const PolicySnapshot policy = must_be(keyring->policy());
  EXPECT_EQ(policy.generation, 2U);
  ASSERT_TRUE(policy.grants[0].revoked_at.has_value());
  EXPECT_GE(*policy.grants[0].revoked_at, before);
}

TEST(KeyringPolicy, AGrantsIdIsNeverUsedAgain) {
  TestStore store;
  const auto keyring = store.open();
  EXPECT_EQ(must_be(keyring->add_grant(everyone_grant(kRootScope))), GrantId{2});
  must_be(keyring->revoke_grant(GrantId{2}));
  EXPECT_EQ(must_be(keyring->add_grant(everyone_grant(kRootScope))), GrantId{3});
}

TEST(KeyringPolicy, EveryChangeRaisesTheGeneration) {
  TestStore store;
  const auto keyring = store.open();
  std::uint64_t last = must_be(keyring->policy()).generation;
  for (int i = 0; i < 5; ++i) {
    must_be(keyring->add_grant(everyone_grant(kRootScope)));
    const std::uint64_t now = must_be(keyring->policy()).generation;
    EXPECT_EQ(now, last + 1);
    last = now;
  }
  // Keys come and go without; what is recorded of a file is a change.
  const auto deks = must_be(keyring->make_deks(kRootScope, 2));
  must_be(keyring->discard_deks(std::vector<FileId>{deks[1].file}));
  EXPECT_EQ(must_be(keyring->policy()).generation, last);
  const FileRecord record{.file = deks[0].file, .version = deks[0].version, .generation = 1};
  must_be(keyring->record({&record, 1}));
  EXPECT_EQ(must_be(keyring->policy()).generation, last + 1);
  must_be(keyring->readmit(record));
  EXPECT_EQ(must_be(keyring->policy()).generation, last + 2);
  const FileRecord unknown{.file = deks[1].file, .version = deks[1].version};
  must_be(keyring->record({&unknown, 1}));
  EXPECT_EQ(must_be(keyring->policy()).generation, last + 2) << "nothing was recorded";
}

TEST(KeyringPolicy, DataVersionShowsTheChangesOfOthers) {
  TestStore store;
  const auto one = store.open();
  const auto other = store.open();
  const std::int64_t before = must_be(one->data_version());
  EXPECT_EQ(must_be(one->data_version()), before);
  must_be(one->add_grant(everyone_grant(kRootScope)));
  EXPECT_EQ(must_be(one->data_version()), before);
  must_be(other->add_grant(everyone_grant(kRootScope)));
  EXPECT_NE(must_be(one->data_version()), before);
  EXPECT_EQ(must_be(one->policy()).grants.size(), 3U);
}

TEST(KeyringPolicy, AScopeWithoutAnActiveKekKeepsNoOtherScopeFromItsKeys) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeId other = must_be(keyring->add_scope("/other", dir_id(1), ScopeSettings{}));
  // No verb retires a KEK yet; so the row is changed and MACed again, as such a verb will do.
  testing::change_policy_by_hand(store, "UPDATE keks SET state = 5 WHERE scope_id = 2");
  const auto fresh = store.open();
  EXPECT_EQ(must_be(fresh->policy()).scopes[1].kek_version, KeyVersion{0});
  EXPECT_EQ(outcome(fresh->make_deks(other, 1)), "key-unavailable");
  EXPECT_EQ(outcome(fresh->scope_secret(other)), "revoked");
  EXPECT_EQ(outcome(fresh->make_deks(kRootScope, 1)), "ok");
}

TEST(KeyringPolicy, ASuspendedScopeGivesNoKeys) {
  TestStore store;
  testing::change_policy_by_hand(store, "UPDATE scopes SET state = 3");
  const auto keyring = store.open();
  EXPECT_EQ(outcome(keyring->make_deks(kRootScope, 1)), "revoked");
  EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "revoked");
}

}  // namespace
}  // namespace coffer
