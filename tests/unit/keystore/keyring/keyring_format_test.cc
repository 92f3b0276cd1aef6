// The file as keystore/FORMAT.md describes it, read by hand; and what must not stand in it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "keystore/crypto/box.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::contains;
using testing::expected_policy_mac;
using testing::file_bytes;
using testing::must_be;
using testing::policy_secrets;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;

ByteVector wrapped_aad(std::uint32_t purpose, StoreId store, std::uint32_t scope, std::uint32_t kek,
                       const FileId& file, std::uint32_t version) {
  return ByteWriter()
      .text("coffer/1/wrp")
      .le(purpose)
      .bytes(store.view())
      .le(scope)
      .le(kek)
      .bytes(file.view())
      .le(version)
      .zeros(4)
      .take();
}

KeyContext kek_context(const TestStore& store, ScopeId scope) {
  KeyContext context;
  context.purpose = KeyContext::Purpose::kKek;
  context.store = store.id;
  context.scope = scope;
  context.version = KeyVersion{1};
  return context;
}

TEST(KeyringFormat, TheHeaderSaysWhatItIs) {
  TestStore store;
  RawDatabase raw(store.path);
  EXPECT_EQ(raw.number("PRAGMA application_id"), 0x434F4652);
  EXPECT_EQ(raw.number("PRAGMA user_version"), 1);
  EXPECT_THAT(raw.column("PRAGMA journal_mode"), ::testing::ElementsAre("wal"));
  EXPECT_THAT(raw.column("PRAGMA encoding"), ::testing::ElementsAre("UTF-8"));
  EXPECT_THAT(raw.column("SELECT name FROM meta ORDER BY name"),
              ::testing::ElementsAre("created_at", "generation", "moment", "names", "policy_key",
                                     "policy_mac", "store_id"));
  EXPECT_EQ(raw.value("SELECT value FROM meta WHERE name = 'store_id'"),
            ByteVector(store.id.bytes.begin(), store.id.bytes.end()));
  EXPECT_EQ(raw.value("SELECT value FROM meta WHERE name = 'generation'"),
            (ByteVector{1, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(raw.value("SELECT value FROM meta WHERE name = 'policy_key'").size(), 61U);
}

TEST(KeyringFormat, ThePolicyMacIsOverWhatTheFormatSays) {
  TestStore store;
  const auto mac = [&] {
    return RawDatabase(store.path).value("SELECT value FROM meta WHERE name = 'policy_mac'");
  };
  EXPECT_EQ(mac(), expected_policy_mac(store));
  {
    const auto keyring = store.open();
    must_be(keyring->add_scope("/a", DirId{}, ScopeSettings{}));
    GrantRow grant = selector_grant(ScopeId{2}, {"unix:uid:1", "unix:gid:1"});
    grant.not_before = -9;
    grant.created_by = "";
    must_be(keyring->add_grant(grant));
    must_be(keyring->revoke_grant(GrantId{1}));
  }
  const ByteVector last = mac();
  EXPECT_EQ(last.size(), 32U);
  EXPECT_EQ(last, expected_policy_mac(store));
}

TEST(KeyringFormat, PathsSecretsAndKeysOpenByTheFormat) {
  TestStore store;
  const auto keyring = store.open();
  const ScopeId scope = must_be(keyring->add_scope("/models", DirId{}, ScopeSettings{}));
  const Dek dek = std::move(must_be(keyring->make_deks(scope, 1)).front());
  RawDatabase raw(store.path);

  const ByteVector sealed = raw.value("SELECT path FROM scopes WHERE id = 2");
  const ByteVector path_aad =
      ByteWriter().text("coffer/1/pth").zeros(4).bytes(store.id.view()).le(std::uint32_t{2}).take();
  const SecretBytes path =
      must_be(open_box(policy_secrets(store).paths.expose(), path_aad, sealed));
  EXPECT_EQ(as_text(path.expose()), "/models");

  const SecretBytes kek = must_be(store.kms.unwrap(
      raw.value("SELECT wrapped FROM keks WHERE scope_id = 2"), kek_context(store, scope)));
  const SecretBytes secret =
      must_be(open_box(kek.expose(), wrapped_aad(3, store.id, 2, 1, FileId{}, 1),
                       raw.value("SELECT secret FROM scopes WHERE id = 2")));
  EXPECT_TRUE(equal(secret.expose(), must_be(keyring->scope_secret(scope)).expose()));

  const SecretBytes key =
      must_be(open_box(kek.expose(), wrapped_aad(4, store.id, 2, 1, dek.file, 1),
                       raw.value("SELECT wrapped FROM deks")));
  EXPECT_TRUE(equal(key.expose(), dek.key.expose()));
}

TEST(KeyringFormat, TheRecordMacIsOverWhatTheFormatSays) {
  TestStore store;
  const auto keyring = store.open();
  const Dek dek = std::move(must_be(keyring->make_deks(kRootScope, 1)).front());
  const auto check = [&](std::uint32_t state, std::uint64_t generation, const Digest& root) {
    RawDatabase raw(store.path);
    const ByteVector message =
        ByteWriter()
            .bytes(dek.file.view())
            .le(std::uint32_t{1})
            .le(std::uint32_t{1})
            .le(state)
            .le(static_cast<std::uint64_t>(raw.number("SELECT changed_at FROM deks")))
            .le(generation)
            .bytes(root)
            .take();
    const Digest mac = HmacKey(policy_secrets(store).records.expose()).mac(message);
    EXPECT_EQ(raw.value("SELECT record_mac FROM deks"), ByteVector(mac.begin(), mac.begin() + 16));
  };
  check(1, 0, Digest{});
  FileRecord record{.file = dek.file, .version = dek.version, .generation = 77};
  record.root.fill(3);
  must_be(keyring->record({&record, 1}));
  check(2, 77, record.root);
}

TEST(KeyringFormat, NoKeyAndNoPathStandsInTheFiles) {
  TestStore store;
  const std::string path = "/weights/very-secret-model-name";
  std::vector<ByteVector> secrets;
  ByteVector wal;
  {
    const auto keyring = store.open();
    const ScopeId scope = must_be(keyring->add_scope(path, DirId{}, ScopeSettings{}));
    const ScopeId direct =
        must_be(keyring->add_scope(path + "/direct", DirId{}, {.wrap = Wrap::kDirect}));
    const auto remember = [&](const SecretBytes& key) {
      secrets.emplace_back(key.expose().begin(), key.expose().end());
    };
    for (const ScopeId each : {kRootScope, scope, direct}) {
      remember(must_be(keyring->scope_secret(each)));
      const std::vector<Dek> deks = must_be(keyring->make_deks(each, 20));
      for (const Dek& dek : deks) {
        remember(dek.key);
        const FileRecord record{.file = dek.file, .version = dek.version, .generation = 1};
        must_be(keyring->record({&record, 1}));
      }
    }
    must_be(keyring->revoke_grant(GrantId{1}));
    // Reading the -wal file takes no lock of SQLite's away; reading the database's would.
    wal = file_bytes(store.path + "-wal");
  }
  const testing::PolicySecrets policy = policy_secrets(store);
  for (const SecretBytes* key : {&policy.policy, &policy.records, &policy.paths}) {
    secrets.emplace_back(key->expose().begin(), key->expose().end());
  }
  for (ByteVector& key : store.kms.keys_seen()) secrets.push_back(std::move(key));
  ASSERT_GT(secrets.size(), 80U);  // DEKs, scope secrets, KEKs, policy and master key

  const ByteVector database = file_bytes(store.path);
  ASSERT_GT(wal.size(), 4096U);
  ASSERT_TRUE(contains(database, as_bytes("SQLite format 3")));
  ASSERT_TRUE(contains(database, as_bytes("fake:kms")));
  for (const Bytes file : {Bytes(database), Bytes(wal)}) {
    for (const ByteVector& secret : secrets) {
      ASSERT_EQ(secret.size(), 32U);
      // Half a key is too much already.
      EXPECT_FALSE(contains(file, Bytes(secret).first(16)));
      EXPECT_FALSE(contains(file, Bytes(secret).last(16)));
      EXPECT_FALSE(contains(file, as_bytes(to_hex(Bytes(secret).first(16)))));
    }
    for (const char* name : {"weights", "secret-model", "model-name"}) {
      EXPECT_FALSE(contains(file, as_bytes(name))) << name;
    }
  }
}

TEST(KeyringFormat, ADiscardedKeyLeavesNoTraceInTheDatabase) {
  TestStore store;
  ByteVector wrapped;
  FileId file;
  {
    const auto keyring = store.open();
    const std::vector<Dek> deks = must_be(keyring->make_deks(kRootScope, 3));
    file = deks[1].file;
    wrapped = RawDatabase(store.path)
                  .value("SELECT wrapped FROM deks WHERE file_id = X'" + file.hex() + "'");
  }
  ASSERT_TRUE(contains(file_bytes(store.path), wrapped));
  must_be(store.open()->discard_deks({&file, 1}));
  EXPECT_FALSE(contains(file_bytes(store.path), wrapped));
  EXPECT_TRUE(file_bytes(store.path + "-wal").empty());
}

}  // namespace
}  // namespace coffer
