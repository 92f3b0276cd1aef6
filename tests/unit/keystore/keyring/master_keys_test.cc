// Moving a store to another master key, and to a newer version of the one that it has.

#include "keystore/keyring/master_keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "keystore/crypto/box.h"
#include "keystore/kms/lockable_kms.h"
#include "tests/support/keystore_process.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::FakeKms;
using testing::must_be;
using testing::outcome;
using testing::TestStore;
using Progress = MasterKeys::Progress;

bool go_on(const Progress& /*progress*/) { return true; }

/// A master key with versions: the byte before the box says which.
class VersionedKms final : public MasterKms {
 public:
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    ByteVector wrapped = TRY(fake_.wrap(key, context));
    wrapped.insert(wrapped.begin(), version);
    return wrapped;
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    return fake_.unwrap(wrapped.subspan(1), context);
  }
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override {
    ++rewraps;
    if (!loses) return wrap(TRY(unwrap(wrapped, context)), context);
    return wrap(SecretBytes::random(32), context);
  }
  [[nodiscard]] std::string version_of(Bytes wrapped) const override {
    return std::string(1, static_cast<char>(wrapped[0]));
  }
  Result<std::string> newest_version() override {
    return std::string(1, static_cast<char>(version.load()));
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return fake_.describe(); }

  std::atomic<std::uint8_t> version = '1';
  std::atomic<int> rewraps = 0;
  std::atomic<bool> loses = false;

 private:
  FakeKms fake_;
};

class MasterKeysTest : public ::testing::Test {
 protected:
  MasterKeysTest() : store_(TestStore::Options{.root_wrap = Wrap::kDirect, .root_selectors = {}}) {
    next_.call_it("2");
    keyring_ = store_.open();
    wrapped_ = must_be(keyring_->add_scope("/models", DirId{}, ScopeSettings{}));
    remember(kRootScope, 700);
    remember(wrapped_, 3);
  }

  void remember(ScopeId scope, std::size_t count) {
    for (Dek& dek : must_be(keyring_->make_deks(scope, count))) deks_.push_back(std::move(dek));
  }

  /// Every key is what it was, to who opens the keystore by this master key.
  void expect_all_keys(MasterKms& master) {
    auto keyring =
        Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, master, store_.clock);
    ASSERT_TRUE(keyring.ok()) << keyring.error().message();
    expect_all_keys(**keyring);
  }
  void expect_all_keys(Keyring& keyring) {
    for (const Dek& dek : deks_) {
      const auto found = keyring.dek(dek.file, dek.version);
      ASSERT_TRUE(found.ok()) << found.error().message();
      ASSERT_TRUE(constant_time_equal(found->key.expose(), dek.key.expose()));
    }
    EXPECT_EQ(outcome(keyring.scope_secret(wrapped_)), "ok");
  }
  std::string opened_by(MasterKms& master) {
    return outcome(
        Keyring::open(store_.path, Keyring::Access::kReadOnly, store_.id, master, store_.clock));
  }

  TestStore store_;
  FakeKms next_;
  std::unique_ptr<Keyring> keyring_;
  ScopeId wrapped_;
  std::vector<Dek> deks_;
};

TEST_F(MasterKeysTest, MovesEveryKey) {
  MasterKeys keys(*keyring_);
  std::vector<std::uint64_t> done;
  const auto moved = keys.move_to(next_, [&](const Progress& progress) {
    EXPECT_EQ(progress.keys, 703U);  // of the policy, two scopes and 700 files
    done.push_back(progress.done);
    return true;
  });
  ASSERT_TRUE(moved.ok()) << moved.error().message();
  EXPECT_TRUE(moved->complete);
  EXPECT_EQ(done.back(), 703U);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));

  expect_all_keys(next_);
  EXPECT_EQ(opened_by(store_.kms), "corrupt");
  EXPECT_EQ(must_be(Keyring::peek(store_.path)).master, next_.describe());
  // What the old one has wrapped is nowhere any more.
  testing::RawDatabase raw(store_.path);
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 0);
  EXPECT_EQ(raw.number("SELECT count(*) FROM meta WHERE name GLOB 'copy:*' OR name GLOB "
                       "'master:*';"),
            0);
  EXPECT_EQ(raw.number("SELECT count(*) FROM keks WHERE master_id <> 2;"), 0);
}

TEST_F(MasterKeysTest, GoesOnWhereItWasStopped) {
  MasterKeys keys(*keyring_);
  const auto stopped =
      keys.move_to(next_, [](const Progress& progress) { return progress.done < 200; });
  ASSERT_TRUE(stopped.ok()) << stopped.error().message();
  EXPECT_FALSE(stopped->complete);
  expect_all_keys(store_.kms);
  EXPECT_EQ(must_be(keys.next())->version, "2");
  const auto found = must_be(keys.coverage());
  EXPECT_EQ(found.keys, 703U);
  ASSERT_EQ(found.masters.size(), 2U);
  EXPECT_EQ(found.masters[0].row.role, MasterRole::kPrimary);
  EXPECT_EQ(found.masters[0].keys, 703U);
  EXPECT_EQ(found.masters[1].row.role, MasterRole::kNext);
  EXPECT_EQ(found.masters[1].keys, stopped->done);

  const std::size_t before = next_.wraps();
  EXPECT_TRUE(must_be(keys.move_to(next_, go_on)).complete);
  EXPECT_EQ(next_.wraps() - before, 703 - stopped->done);
  expect_all_keys(next_);
}

TEST_F(MasterKeysTest, AFailureInTheMiddleLosesNothing) {
  MasterKeys keys(*keyring_);
  for (const std::size_t calls : {0U, 1U, 2U, 100U, 300U}) {
    for (FakeKms* kms : {&store_.kms, &next_}) {
      kms->fail_after(calls);
      EXPECT_EQ(outcome(keys.move_to(next_, go_on)), "key-unavailable") << calls;
      kms->fail_with(std::nullopt);
      expect_all_keys(store_.kms);
    }
  }
  EXPECT_TRUE(must_be(keys.move_to(next_, go_on)).complete);
  expect_all_keys(next_);
}

TEST_F(MasterKeysTest, KeysThatAreMadeMeanwhileMoveToo) {
  MasterKeys keys(*keyring_);
  bool made = false;
  ScopeId late;
  const auto moved = keys.move_to(next_, [&](const Progress& progress) {
    if (progress.done == progress.keys && !made) {
      made = true;
      auto other = store_.open();
      for (Dek& dek : must_be(other->make_deks(kRootScope, 2))) deks_.push_back(std::move(dek));
      late = must_be(other->add_scope("/late", DirId{}, ScopeSettings{}));
    }
    return true;
  });
  ASSERT_TRUE(moved.ok()) << moved.error().message();
  EXPECT_TRUE(made && moved->complete);
  EXPECT_EQ(moved->keys, 706U);
  expect_all_keys(next_);
  auto keyring =
      Keyring::open(store_.path, Keyring::Access::kReadOnly, store_.id, next_, store_.clock);
  EXPECT_EQ(outcome((*keyring)->scope_secret(late)), "ok");
}

TEST_F(MasterKeysTest, ACopyThatSomebodyElsePutThereIsNone) {
  MasterKeys keys(*keyring_);
  (void)must_be(keys.move_to(next_, [](const Progress& progress) { return progress.done < 703; }));
  // Whoever may wrap by the next master key makes a key of his own, for that file.
  const Dek& target = deks_.front();
  KeyContext context{.purpose = KeyContext::Purpose::kDek,
                     .store = store_.id,
                     .scope = kRootScope,
                     .wrapping_kek = {},
                     .file = target.file,
                     .version = target.version};
  const ByteVector forged = must_be(next_.wrap(SecretBytes::random(32), context));
  keyring_.reset();
  {
    testing::RawDatabase raw(store_.path);
    raw.run("UPDATE dek_copies SET wrapped = x'" + to_hex(forged) + "' WHERE file_id = x'" +
            target.file.hex() + "';");
  }
  keyring_ = store_.open();
  EXPECT_TRUE(must_be(MasterKeys(*keyring_).move_to(next_, go_on)).complete);
  expect_all_keys(next_);
}

TEST_F(MasterKeysTest, OneKeyThatDoesNotOpenNeedNotStopAll) {
  const Dek lost = std::move(deks_[300]);
  deks_.erase(deks_.begin() + 300);
  keyring_.reset();
  testing::RawDatabase(store_.path)
      .run("UPDATE deks SET wrapped = x'01" + std::string(120, '0') + "' WHERE file_id = x'" +
           lost.file.hex() + "';");
  keyring_ = store_.open();
  EXPECT_EQ(outcome(MasterKeys(*keyring_).move_to(next_, go_on)), "corrupt");
  EXPECT_EQ(outcome(MasterKeys(*keyring_).rewrap(true, go_on)), "corrupt");
  MasterKeys keys(*keyring_);
  keys.leave_unopenable();
  EXPECT_EQ(must_be(keys.rewrap(true, go_on)).left, std::set<FileId>{lost.file});
  expect_all_keys(store_.kms);
  const auto moved = must_be(keys.move_to(next_, go_on));
  EXPECT_TRUE(moved.complete);
  EXPECT_EQ(moved.left, std::set<FileId>{lost.file});
  expect_all_keys(next_);
  EXPECT_EQ(outcome(must_be(Keyring::open(store_.path, Keyring::Access::kReadOnly, store_.id, next_,
                                          store_.clock))
                        ->dek(lost.file, lost.version)),
            "corrupt");
}

TEST_F(MasterKeysTest, AKmsThatIsGoneIsNoKeyThatDoesNotOpen) {
  MasterKeys keys(*keyring_);
  keys.leave_unopenable();
  for (const Code code : {Code::kKmsUnavailable, Code::kKmsDenied, Code::kKeyUnavailable}) {
    next_.fail_with(Error{code, 0, "as told"});
    EXPECT_EQ(outcome(keys.move_to(next_, go_on)), to_string(code));
  }
  expect_all_keys(store_.kms);
}

TEST_F(MasterKeysTest, CopiesThatAKillLeftGoWithTheNextMove) {
  MasterKeys keys(*keyring_);
  (void)must_be(keys.move_to(next_, [](const Progress& progress) { return progress.done < 500; }));
  keyring_.reset();
  testing::RawDatabase raw(store_.path);
  EXPECT_GT(raw.number("SELECT count(*) FROM dek_copies;"), 0);
  // As if it had been killed before they were removed.
  raw.run("UPDATE dek_copies SET master_id = 77;");
  keyring_ = store_.open();
  EXPECT_TRUE(must_be(MasterKeys(*keyring_).move_to(next_, go_on)).complete);
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 0);
}

TEST_F(MasterKeysTest, IsAbandoned) {
  MasterKeys keys(*keyring_);
  EXPECT_EQ(outcome(keys.abandon()), "not-found");
  (void)must_be(keys.move_to(next_, [](const Progress& progress) { return progress.done < 500; }));
  FakeKms other;
  other.call_it("3");
  EXPECT_EQ(outcome(keys.move_to(other, go_on)), "busy");
  ASSERT_TRUE(keys.abandon().ok());
  EXPECT_FALSE(must_be(keys.next()).has_value());
  expect_all_keys(store_.kms);
  EXPECT_TRUE(must_be(keys.move_to(other, go_on)).complete);
  expect_all_keys(other);
}

TEST_F(MasterKeysTest, TheOneThatItHasIsNoOtherOne) {
  EXPECT_EQ(outcome(MasterKeys(*keyring_).move_to(store_.kms, go_on)), "exists");
}

TEST_F(MasterKeysTest, OthersFollow) {
  // A daemon, with a master key that can be exchanged.
  LockableKms master(std::make_unique<FakeKms>(store_.kms.master()));
  auto daemon = must_be(Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, master,
                                      store_.clock, {.ttl_s = 600, .grace_s = 0}));
  int followed = 0;
  daemon->follow_master([&](const MasterKeyRecord& record, const auto& check) -> Result<void> {
    auto other = std::make_unique<FakeKms>(next_.master());
    other->call_it(record.version);
    TRY(check(*other));
    ++followed;
    return master.exchange(std::move(other));
  });
  expect_all_keys(*daemon);
  ASSERT_TRUE(must_be(MasterKeys(*keyring_).move_to(next_, go_on)).complete);

  // A file whose key the KMS is asked for each time, first of all.
  expect_all_keys(*daemon);
  EXPECT_EQ(followed, 1);
  EXPECT_EQ(master.describe(), next_.describe());
  // Keys that it makes now are the next one's, and so are those that it asks for anew.
  for (Dek& dek : must_be(daemon->make_deks(kRootScope, 1))) deks_.push_back(std::move(dek));
  const ScopeId late = must_be(daemon->add_scope("/late", DirId{}, ScopeSettings{}));
  daemon->forget_keys();
  expect_all_keys(*daemon);
  expect_all_keys(next_);
  EXPECT_EQ(outcome(daemon->scope_secret(late)), "ok");
  EXPECT_EQ(followed, 1);
}

TEST_F(MasterKeysTest, WhoWrapsBesideAMoveWrapsForTheRightOne) {
  LockableKms master(std::make_unique<FakeKms>(store_.kms.master()));
  auto daemon = must_be(
      Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, master, store_.clock));
  daemon->follow_master([&](const MasterKeyRecord& record, const auto& check) -> Result<void> {
    auto other = std::make_unique<FakeKms>(next_.master());
    other->call_it(record.version);
    TRY(check(*other));
    return master.exchange(std::move(other));
  });
  std::atomic<bool> over = false;
  std::vector<Dek> made;
  std::thread maker([&] {
    do {
      for (Dek& dek : must_be(daemon->make_deks(kRootScope, 2))) made.push_back(std::move(dek));
    } while (!over);
  });
  const auto moved = MasterKeys(*keyring_).move_to(next_, go_on);
  over = true;
  maker.join();
  ASSERT_TRUE(moved.ok()) << moved.error().message();
  for (Dek& dek : made) deks_.push_back(std::move(dek));
  expect_all_keys(next_);
}

TEST_F(MasterKeysTest, NobodyFollowsToAStoreOfSomebodyElses) {
  LockableKms master(std::make_unique<FakeKms>(store_.kms.master()));
  auto daemon = must_be(
      Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, master, store_.clock));
  daemon->follow_master([&](const MasterKeyRecord& record, const auto& check) -> Result<void> {
    auto other = std::make_unique<FakeKms>(next_.master());
    other->call_it(record.version);
    TRY(check(*other));
    return master.exchange(std::move(other));
  });
  // He has a master key that this node may use, and writes to the keystore.
  const ByteVector own =
      must_be(next_.wrap(SecretBytes::random(32), KeyContext::of_policy_key(store_.id)));
  {
    testing::RawDatabase raw(store_.path);
    raw.run("UPDATE masters SET version = '2'; UPDATE meta SET value = x'" + to_hex(own) +
            "' WHERE name = 'policy_key';");
  }
  EXPECT_EQ(outcome(daemon->dek(deks_.front().file, deks_.front().version)), "corrupt");
  EXPECT_EQ(outcome(daemon->make_deks(kRootScope, 1)), "corrupt");
  // Nor when there is nothing left to see by that it was altered.
  daemon->forget_keys();
  EXPECT_EQ(outcome(daemon->dek(deks_.front().file, deks_.front().version)), "wrong-key");
  EXPECT_EQ(master.describe(), store_.kms.describe());
}

TEST_F(MasterKeysTest, ALockedMountTakesUpNothing) {
  LockableKms master(std::make_unique<FakeKms>(store_.kms.master()));
  auto daemon = must_be(
      Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, master, store_.clock));
  daemon->follow_master([&](const MasterKeyRecord&, const auto&) -> Result<void> {
    ADD_FAILURE() << "taken up while locked";
    return {};
  });
  daemon->lock();
  master.let_go();
  ASSERT_TRUE(must_be(MasterKeys(*keyring_).move_to(next_, go_on)).complete);
  daemon->refresh_keys();
  EXPECT_EQ(outcome(daemon->dek(deks_.front().file, deks_.front().version)), "key-unavailable");
  auto late = std::make_unique<FakeKms>(next_.master());
  EXPECT_EQ(outcome(master.exchange(std::move(late))), "key-unavailable");
}

/// One that mixes up what it is asked at once.
class MixingKms final : public MasterKms {
 public:
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    return fake_.wrap(key, context);
  }
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override {
    std::vector<ByteVector> wrapped;
    for (std::size_t i = 0; i < keys.size(); ++i)
      wrapped.push_back(TRY(wrap(*keys[keys.size() - 1 - i].key, keys[i].context)));
    return wrapped;
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    return fake_.unwrap(wrapped, context);
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return {"fake:mixing", "1", ""}; }

 private:
  FakeKms fake_;
};

TEST_F(MasterKeysTest, AKmsThatMixesUpKeysIsFoundOut) {
  MixingKms mixing;
  EXPECT_EQ(outcome(MasterKeys(*keyring_).move_to(mixing, go_on)), "kms-unavailable");
  expect_all_keys(store_.kms);
}

class RecoveryTest : public MasterKeysTest {
 protected:
  RecoveryTest() { recovery_.call_it("recovery"); }

  /// The store as the recovery master key opens it, the primary being lost.
  Result<std::unique_ptr<Keyring>> recovered() {
    const KeystorePeek peek = must_be(Keyring::peek(store_.path));
    if (!peek.recovery) return Error{Code::kNotFound, 0, "no recovery key"};
    recovered_ = TRY(RecoveredKms::open(recovery_, *peek.recovery, store_.id, peek.master));
    return Keyring::open(store_.path, Keyring::Access::kReadWrite, store_.id, *recovered_,
                         store_.clock, {}, {}, Keyring::IfOlder::kRefuse, Keyring::Source::kCopies);
  }

  FakeKms recovery_;
  std::unique_ptr<RecoveredKms> recovered_;
};

TEST_F(RecoveryTest, AStoreWhosePrimaryIsLostGetsAnother) {
  ASSERT_TRUE(must_be(MasterKeys(*keyring_).set_recovery(recovery_, go_on)).complete);
  EXPECT_EQ(recovery_.wraps(), 1U);
  // Keys that were made since, without the recovery master key.
  recovery_.fail_with(Error{Code::kKmsUnavailable, 0, "in the safe"});
  remember(kRootScope, 300);
  remember(wrapped_, 2);
  const ScopeId late = must_be(keyring_->add_scope("/late", DirId{}, ScopeSettings{}));
  remember(late, 1);
  const auto found = must_be(MasterKeys(*keyring_).coverage());
  EXPECT_EQ(found.keys, 1004U);
  EXPECT_EQ(found.masters.back().row.role, MasterRole::kRecovery);
  EXPECT_EQ(found.masters.back().keys, 1004U);
  keyring_.reset();

  recovery_.fail_with(std::nullopt);
  store_.kms.fail_with(Error{Code::kKmsKeyMissing, 0, "lost"});
  {
    auto keyring = recovered();
    ASSERT_TRUE(keyring.ok()) << keyring.error().message();
    expect_all_keys(**keyring);
    EXPECT_EQ(outcome((*keyring)->make_deks(kRootScope, 1)), "unsupported");
    EXPECT_TRUE(must_be(MasterKeys(**keyring).move_to(next_, go_on)).complete);
  }
  expect_all_keys(next_);
  // The recovery master key goes on being that.
  next_.fail_with(Error{Code::kKmsKeyMissing, 0, "lost as well"});
  expect_all_keys(*must_be(recovered()));
}

TEST_F(RecoveryTest, WhatIsMissingIsMade) {
  MasterKeys keys(*keyring_);
  const auto stopped = must_be(
      keys.set_recovery(recovery_, [](const Progress& progress) { return progress.done < 300; }));
  EXPECT_FALSE(stopped.complete);
  EXPECT_EQ(must_be(keys.coverage()).masters.back().keys, stopped.done);
  // The last in the table: those of one millisecond are in any order.
  const Dek& last = *std::ranges::max_element(
      deks_, {}, [](const Dek& dek) { return dek.scope == kRootScope ? dek.file : FileId{}; });
  EXPECT_EQ(outcome(must_be(recovered())->dek(last.file, last.version)), "not-found");
  {
    auto keyring = must_be(recovered());
    MasterKeys by_copies(*keyring);
    EXPECT_EQ(outcome(by_copies.move_to(next_, go_on)), "not-found");
    // With the primary lost, too.
    ASSERT_TRUE(by_copies.abandon().ok());
  }
  EXPECT_TRUE(must_be(keys.set_recovery(recovery_, go_on)).complete);
  expect_all_keys(*must_be(recovered()));
}

TEST_F(RecoveryTest, OneAtATimeAndGoneWhenRemoved) {
  MasterKeys keys(*keyring_);
  EXPECT_EQ(outcome(keys.remove_recovery()), "not-found");
  (void)must_be(keys.set_recovery(recovery_, go_on));
  EXPECT_EQ(outcome(keys.set_recovery(next_, go_on)), "exists");
  ASSERT_TRUE(keys.remove_recovery().ok());
  EXPECT_EQ(outcome(recovered()), "not-found");
  testing::RawDatabase raw(store_.path);
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 0);
  EXPECT_EQ(raw.number("SELECT count(*) FROM meta WHERE name GLOB 'copy:*' OR name GLOB "
                       "'recovery:*' OR name GLOB 'master:*';"),
            0);
}

TEST_F(RecoveryTest, AMasterKeyThatCantUnwrapIsNone) {
  recovery_.fail_after(1);
  EXPECT_EQ(outcome(MasterKeys(*keyring_).set_recovery(recovery_, go_on)), "key-unavailable");
  EXPECT_EQ(outcome(recovered()), "not-found");
}

TEST_F(RecoveryTest, AnotherMasterKeyOrAnotherKeyOpensNothing) {
  (void)must_be(MasterKeys(*keyring_).set_recovery(recovery_, go_on));
  const KeystorePeek peek = must_be(Keyring::peek(store_.path));
  EXPECT_EQ(outcome(RecoveredKms::open(next_, *peek.recovery, store_.id, peek.master)), "corrupt");
  // Anybody can seal keys of his own to the public key. None is taken for the store's.
  const KeyContext place = KeyContext::of_policy_key(store_.id);
  const ByteVector forged =
      must_be(seal_copy(peek.recovery->public_key, place, SecretBytes::random(32)));
  const Dek& target = deks_.front();
  KeyContext dek_place = place;
  dek_place.purpose = KeyContext::Purpose::kDek;
  dek_place.scope = kRootScope;
  dek_place.file = target.file;
  const ByteVector forged_dek =
      must_be(seal_copy(peek.recovery->public_key, dek_place, SecretBytes::random(32)));
  keyring_.reset();
  testing::RawDatabase(store_.path)
      .run("UPDATE dek_copies SET wrapped = x'" + to_hex(forged_dek) + "' WHERE file_id = x'" +
           target.file.hex() + "';");
  EXPECT_EQ(outcome(must_be(recovered())->dek(target.file, target.version)), "not-found");
  testing::RawDatabase(store_.path)
      .run("UPDATE meta SET value = x'" + to_hex(forged) + "' WHERE name = 'copy:2:policy_key';");
  EXPECT_EQ(outcome(recovered()), "corrupt");
}

TEST_F(RecoveryTest, NobodyPutsHisOwnPublicKeyThere) {
  (void)must_be(MasterKeys(*keyring_).set_recovery(recovery_, go_on));
  // Just while keys are being wrapped, when the policy was looked at last.
  store_.kms.hold();
  std::string made;
  std::thread maker([&] { made = outcome(keyring_->make_deks(kRootScope, 3)); });
  ASSERT_TRUE(testing::eventually([&] { return store_.kms.waiting() == 1; }));
  const HpkePublicKey his = hpke_public_key(SecretBytes::random(32));
  testing::RawDatabase raw(store_.path);
  raw.run("UPDATE meta SET value = x'01" + to_hex(his) + "0000' WHERE name = 'recovery:2';");
  store_.kms.let_go();
  maker.join();
  EXPECT_EQ(made, "corrupt");
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 700);
}

TEST_F(RecoveryTest, KeysThatWereNeverUsedLeaveNoCopies) {
  (void)must_be(MasterKeys(*keyring_).set_recovery(recovery_, go_on));
  std::vector<FileId> unused;
  for (const Dek& dek : must_be(keyring_->make_deks(kRootScope, 5))) unused.push_back(dek.file);
  testing::RawDatabase raw(store_.path);
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 705);
  ASSERT_TRUE(keyring_->discard_deks(unused).ok());
  EXPECT_EQ(raw.number("SELECT count(*) FROM dek_copies;"), 700);
}

class RewrapTest : public ::testing::Test {
 protected:
  RewrapTest() : store_(TestStore::Options{.root_wrap = Wrap::kDirect, .root_selectors = {}}) {
    path_ = store_.dir.file("versioned.db");
    auto options = store_.create_options();
    options.path = path_;
    must_be(Keyring::create(options, kms_, store_.clock));
    keyring_ =
        must_be(Keyring::open(path_, Keyring::Access::kReadWrite, store_.id, kms_, store_.clock));
    deks_ = must_be(keyring_->make_deks(kRootScope, 300));
  }
  std::map<std::string, std::uint64_t> versions() {
    return must_be(MasterKeys(*keyring_).coverage()).masters.front().versions;
  }
  void expect_all_keys() {
    auto keyring =
        must_be(Keyring::open(path_, Keyring::Access::kReadOnly, store_.id, kms_, store_.clock));
    for (const Dek& dek : deks_) {
      const auto found = keyring->dek(dek.file, dek.version);
      ASSERT_TRUE(found.ok()) << found.error().message();
      ASSERT_TRUE(constant_time_equal(found->key.expose(), dek.key.expose()));
    }
    EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "ok");
  }

  TestStore store_;
  VersionedKms kms_;
  std::string path_;
  std::unique_ptr<Keyring> keyring_;
  std::vector<Dek> deks_;
};

using Versions = std::map<std::string, std::uint64_t>;

TEST_F(RewrapTest, WrapsByTheNewestVersionWhatAnOlderOneHasWrapped) {
  MasterKeys keys(*keyring_);
  EXPECT_EQ(versions(), (Versions{{"1", 302}}));
  EXPECT_TRUE(must_be(keys.rewrap(false, go_on)).complete);
  EXPECT_EQ(kms_.rewraps, 0);
  kms_.version = '2';
  const auto stopped =
      must_be(keys.rewrap(false, [](const Progress& progress) { return progress.done < 100; }));
  EXPECT_FALSE(stopped.complete);
  EXPECT_EQ(versions(), (Versions{{"1", 302 - stopped.done}, {"2", stopped.done}}));
  expect_all_keys();
  EXPECT_TRUE(must_be(keys.rewrap(false, go_on)).complete);
  EXPECT_EQ(kms_.rewraps, 302);  // by the KMS itself
  EXPECT_EQ(versions(), (Versions{{"2", 302}}));
  expect_all_keys();
  EXPECT_TRUE(must_be(keys.rewrap(true, go_on)).complete);
  EXPECT_EQ(kms_.rewraps, 604);
  expect_all_keys();
}

TEST_F(RewrapTest, AKmsThatLosesKeysIsFoundOut) {
  kms_.version = '2';
  kms_.loses = true;
  EXPECT_EQ(outcome(MasterKeys(*keyring_).rewrap(false, go_on)), "kms-unavailable");
  expect_all_keys();
}

TEST_F(MasterKeysTest, NoVersionsNoNewerOne) {
  MasterKeys keys(*keyring_);
  EXPECT_EQ(outcome(keys.rewrap(false, go_on)), "unsupported");
  const std::size_t before = store_.kms.wraps();
  EXPECT_TRUE(must_be(keys.rewrap(true, go_on)).complete);
  EXPECT_EQ(store_.kms.wraps() - before, 703U);
  expect_all_keys(store_.kms);
}

}  // namespace
}  // namespace coffer
