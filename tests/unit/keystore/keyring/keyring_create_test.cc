#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"
#include "tests/support/privileges.h"

namespace coffer {
namespace {

using testing::AsNobody;
using testing::everyone_grant;
using testing::FakeKms;
using testing::file_bytes;
using testing::Mount;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TempDir;
using testing::TestStore;
using testing::Umask;

std::vector<std::string> listing(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

Keyring::CreateOptions options_for(const std::string& path) {
  Keyring::CreateOptions options;
  options.path = path;
  options.store.bytes.fill(7);
  options.root_dir.bytes.fill(9);
  options.first_grant = everyone_grant(kRootScope);
  return options;
}

TEST(KeyringCreate, MakesWhatOpenReads) {
  const TempDir dir;
  FakeKms kms;
  const Clock clock;
  Keyring::CreateOptions options = options_for(dir.file("k.db"));
  options.names = NamesMode::kPlain;
  options.root_scope = {.sensitivity = Sensitivity::kRestricted,
                        .suite = Suite::kChaCha20Poly1305,
                        .chunk_log2 = 16,
                        .wrap = Wrap::kDirect,
                        .retention_s = 0};
  options.first_grant = selector_grant(ScopeId{99}, {"unix:uid:1000", "unix:gid:5"}, 3);
  options.first_grant.not_after = 4'000'000'000;
  const std::int64_t before = clock.unix_seconds();
  must_be(Keyring::create(options, kms, clock));

  const auto keyring =
      must_be(Keyring::open(options.path, Keyring::Access::kReadWrite, options.store, kms, clock));
  EXPECT_TRUE(keyring->writable());
  EXPECT_EQ(keyring->store(), options.store);
  const PolicySnapshot policy = must_be(keyring->policy());
  EXPECT_EQ(policy.generation, 1U);
  EXPECT_EQ(policy.names, NamesMode::kPlain);
  ASSERT_EQ(policy.scopes.size(), 1U);
  const ScopeRow& root = policy.scopes[0];
  EXPECT_EQ(root.id, kRootScope);
  EXPECT_EQ(root.path, "/");
  EXPECT_EQ(root.root_dir, options.root_dir);
  EXPECT_EQ(root.settings.sensitivity, Sensitivity::kRestricted);
  EXPECT_EQ(root.settings.suite, Suite::kChaCha20Poly1305);
  EXPECT_EQ(root.settings.chunk_log2, 16U);
  EXPECT_EQ(root.settings.wrap, Wrap::kDirect);
  EXPECT_EQ(root.settings.retention_s, 0);
  EXPECT_EQ(root.state, KeyState::kActive);
  EXPECT_EQ(root.kek_version, KeyVersion{1});
  EXPECT_GE(root.created_at, before);
  ASSERT_EQ(policy.grants.size(), 1U);
  const GrantRow& grant = policy.grants[0];
  EXPECT_EQ(grant.id, GrantId{1});
  EXPECT_EQ(grant.scope, kRootScope);
  EXPECT_EQ(grant.rights, 3);
  EXPECT_FALSE(grant.everyone);
  EXPECT_FALSE(grant.deny);
  EXPECT_EQ(grant.not_before, std::nullopt);
  EXPECT_EQ(grant.not_after, 4'000'000'000);
  EXPECT_EQ(grant.revoked_at, std::nullopt);
  EXPECT_EQ(grant.purpose, "test");
  EXPECT_EQ(grant.created_by, "uid:0");
  EXPECT_GE(grant.created_at, before);
  EXPECT_THAT(grant.selectors, ::testing::ElementsAre("unix:gid:5", "unix:uid:1000"));
}

TEST(KeyringCreate, NamesStoreAndMasterToWhoHasNoKey) {
  TestStore store;
  const KeystorePeek peek = must_be(Keyring::peek(store.path));
  EXPECT_EQ(peek.store, store.id);
  EXPECT_EQ(peek.master.uri, "fake:kms");
  EXPECT_EQ(peek.master.version, "1");
  EXPECT_EQ(peek.master.params, "none");
  EXPECT_EQ(store.kms.unwraps(), 0U);
}

TEST(KeyringCreate, TheFilesAreTheOwnersWhateverTheUmask) {
  const Umask open_to_all(0);
  TestStore store;
  const auto keyring = store.open();
  must_be(keyring->make_deks(kRootScope, 1));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat status {};
    ASSERT_EQ(::stat((store.path + suffix).c_str(), &status), 0) << suffix;
    EXPECT_EQ(status.st_mode & 07777, 0600U) << suffix;
  }
}

TEST(KeyringCreate, LeavesAnExistingFileAlone) {
  TestStore store;
  const ByteVector before = file_bytes(store.path);
  EXPECT_EQ(outcome(Keyring::create(store.create_options(), store.kms, store.clock)), "exists");
  EXPECT_EQ(file_bytes(store.path), before);
  EXPECT_EQ(outcome(store.check()), "ok");

  const std::string link = store.dir.file("link.db");
  ASSERT_EQ(::symlink("nowhere.db", link.c_str()), 0);
  Keyring::CreateOptions through_link = store.create_options();
  through_link.path = link;
  EXPECT_EQ(outcome(Keyring::create(through_link, store.kms, store.clock)), "exists");
  EXPECT_FALSE(std::filesystem::exists(store.dir.file("nowhere.db")));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST(KeyringCreate, LeavesNothingBehindIfTheKmsFails) {
  const Clock clock;
  for (std::size_t calls = 0; calls < 2; ++calls) {
    const TempDir dir;
    FakeKms kms;
    kms.fail_after(calls);
    EXPECT_EQ(outcome(Keyring::create(options_for(dir.file("k.db")), kms, clock)),
              "key-unavailable");
    EXPECT_THAT(listing(dir.path()), ::testing::IsEmpty()) << calls;
    kms.fail_with(std::nullopt);
    EXPECT_EQ(outcome(Keyring::create(options_for(dir.file("k.db")), kms, clock)), "ok");
  }
  const TempDir dir;
  FakeKms kms;
  kms.run_out_of_memory(true);
  EXPECT_THROW((void)Keyring::create(options_for(dir.file("k.db")), kms, clock), std::bad_alloc);
  EXPECT_THAT(listing(dir.path()), ::testing::IsEmpty());
}

TEST(KeyringCreate, LeavesNothingBehindForWantOfADirectory) {
  const TempDir dir;
  FakeKms kms;
  const Clock clock;
  EXPECT_EQ(outcome(Keyring::create(options_for(dir.file("missing/k.db")), kms, clock)),
            "not-found");
  if (!testing::is_root()) COFFER_SKIP("only root can become another user");
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  {
    const AsNobody nobody;
    EXPECT_EQ(outcome(Keyring::create(options_for(dir.file("k.db")), kms, clock)), "denied");
  }
  EXPECT_THAT(listing(dir.path()), ::testing::IsEmpty());
}

TEST(KeyringCreate, LeavesNothingBehindOnAFullDisk) {
  const TempDir dir;
  FakeKms kms;
  const Clock clock;
  int full = 0;
  int made = 0;
  for (std::size_t pages = 1; pages <= 64; pages = pages < 16 ? pages + 1 : pages * 2) {
    const auto disk = Mount::tmpfs(dir.path(), pages * 4096);
    if (disk == nullptr) COFFER_SKIP("this process may not mount a tmpfs");
    const auto created = Keyring::create(options_for(dir.file("k.db")), kms, clock);
    if (created) {
      ++made;
      continue;
    }
    ++full;
    EXPECT_EQ(outcome(created), "no-space") << pages;
    EXPECT_THAT(listing(dir.path()), ::testing::IsEmpty()) << pages << " pages";
  }
  EXPECT_GT(full, 4);
  EXPECT_GT(made, 0);
}

TEST(KeyringCreate, RefusesWhatCouldNotBeReadAgain) {
  const Clock clock;
  const auto refused = [&](const auto& spoil) {
    const TempDir dir;
    FakeKms kms;
    Keyring::CreateOptions options = options_for(dir.file("k.db"));
    spoil(options);
    const auto created = Keyring::create(options, kms, clock);
    EXPECT_THAT(listing(dir.path()), ::testing::IsEmpty());
    return outcome(created);
  };
  EXPECT_EQ(refused([](auto& options) { options.first_grant.rights = 0; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.first_grant.rights = 8; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.first_grant.everyone = false; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.first_grant.selectors = {"unix:uid:1"}; }),
            "invalid");
  EXPECT_EQ(refused([](auto& options) { options.root_scope.chunk_log2 = 11; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.root_scope.chunk_log2 = 21; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.root_scope.retention_s = -1; }), "invalid");
  EXPECT_EQ(refused([](auto& options) { options.root_scope.wrap = static_cast<Wrap>(3); }),
            "invalid");
  EXPECT_EQ(refused([](auto& options) { options.root_scope.suite = static_cast<Suite>(3); }),
            "invalid");
  EXPECT_EQ(
      refused([](auto& options) { options.root_scope.sensitivity = static_cast<Sensitivity>(4); }),
      "invalid");
}

TEST(KeyringOpen, RefusesAnotherStoresKeystore) {
  TestStore store;
  StoreId other = store.id;
  other.bytes[15] ^= 1;
  const auto opened =
      Keyring::open(store.path, Keyring::Access::kReadWrite, other, store.kms, store.clock);
  ASSERT_EQ(outcome(opened), "foreign-keystore");
  EXPECT_THAT(opened.error().context, ::testing::HasSubstr(store.id.hex()));
  EXPECT_THAT(opened.error().context, ::testing::HasSubstr(other.hex()));
  EXPECT_EQ(store.kms.unwraps(), 0U);
}

TEST(KeyringOpen, RefusesASchemaItDoesNotKnow) {
  for (const auto& [version, expected] :
       {std::pair{"2", "unknown-version"}, std::pair{"1000", "unknown-version"},
        std::pair{"0", "corrupt"}, std::pair{"-1", "corrupt"}}) {
    TestStore store;
    RawDatabase(store.path).run("PRAGMA user_version = " + std::string(version));
    EXPECT_EQ(outcome(store.check()), expected) << version;
    EXPECT_EQ(outcome(Keyring::peek(store.path)), expected) << version;
  }
}

TEST(KeyringOpen, RefusesWhatIsNoKeystore) {
  TestStore store;
  const auto open_at = [&](const std::string& path) {
    const std::string peeked = outcome(Keyring::peek(path));
    const std::string opened =
        outcome(Keyring::open(path, Keyring::Access::kReadWrite, store.id, store.kms, store.clock));
    EXPECT_EQ(peeked, opened) << path;
    return opened;
  };
  EXPECT_EQ(open_at(store.dir.file("missing.db")), "keystore-missing");

  const std::string text = store.dir.file("text");
  std::ofstream(text) << std::string(8192, 'x');
  EXPECT_EQ(open_at(text), "corrupt");
  EXPECT_EQ(file_bytes(text), ByteVector(8192, 'x'));

  const std::string other = store.dir.file("other.db");
  std::ofstream{other};
  EXPECT_EQ(open_at(other), "corrupt");
  RawDatabase(other).run("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)");
  EXPECT_EQ(open_at(other), "corrupt");
  RawDatabase(other).run("PRAGMA application_id = 0x434F4652; PRAGMA user_version = 1");
  EXPECT_EQ(open_at(other), "corrupt");

  RawDatabase(store.path).run("PRAGMA application_id = 0");
  EXPECT_EQ(open_at(store.path), "corrupt");
}

TEST(KeyringOpen, PassesOnWhatTheKmsSays) {
  TestStore store;
  store.kms.fail_with(Error{Code::kKeyUnavailable, ECONNREFUSED, "no route"});
  const auto opened = store.try_open();
  ASSERT_EQ(outcome(opened), "key-unavailable");
  EXPECT_EQ(opened.error().errno_value, ECONNREFUSED);
  EXPECT_EQ(opened.error().context, "no route");
  store.kms.fail_with(Error{Code::kWrongKey, 0, "another key"});
  EXPECT_EQ(outcome(store.try_open()), "wrong-key");
  store.kms.fail_with(std::nullopt);
  EXPECT_EQ(outcome(store.try_open()), "ok");

  FakeKms another;
  EXPECT_EQ(outcome(Keyring::open(store.path, Keyring::Access::kReadWrite, store.id, another,
                                  store.clock)),
            "corrupt");
}

TEST(KeyringReadOnly, ReadsAndWritesNothing) {
  TestStore store;
  std::vector<Dek> deks = must_be(store.open()->make_deks(kRootScope, 2));
  const auto keyring = store.open(Keyring::Access::kReadOnly);
  EXPECT_FALSE(keyring->writable());

  EXPECT_EQ(outcome(keyring->policy()), "ok");
  EXPECT_EQ(outcome(keyring->keks()), "ok");
  EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "ok");
  EXPECT_TRUE(equal(must_be(keyring->dek(deks[0].file, deks[0].version)).key.expose(),
                    deks[0].key.expose()));

  EXPECT_EQ(outcome(keyring->make_deks(kRootScope, 1)), "read-only");
  EXPECT_EQ(outcome(keyring->discard_deks(std::vector<FileId>{deks[0].file})), "read-only");
  EXPECT_EQ(outcome(keyring->record(
                std::vector<FileRecord>{{.file = deks[0].file, .version = deks[0].version}})),
            "read-only");
  EXPECT_EQ(outcome(keyring->add_scope("/a", DirId{}, ScopeSettings{})), "read-only");
  EXPECT_EQ(outcome(keyring->add_grant(everyone_grant(kRootScope))), "read-only");
  EXPECT_EQ(outcome(keyring->revoke_grant(GrantId{1})), "read-only");

  int rows = 0;
  must_be(keyring->visit_keys([&](const KeyRow& row) {
    EXPECT_EQ(row.state, KeyState::kPreActivation);
    ++rows;
    return true;
  }));
  EXPECT_EQ(rows, 2);
  EXPECT_EQ(must_be(keyring->policy()).generation, 1U);
}

}  // namespace
}  // namespace coffer
