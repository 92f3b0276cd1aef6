// When the KMS is asked, and what happens if it can't be.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/keystore_process.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using Purpose = KeyContext::Purpose;
using std::chrono::seconds;
using testing::eventually;
using testing::kTtl;
using testing::must_be;
using testing::outcome;
using testing::TestStore;

class KeyringCache : public ::testing::Test {
 protected:
  KeyringCache() : keyring_(store_.open(Keyring::Access::kReadWrite, {.ttl_s = kTtl})) {
    dek_ = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
    must_be(keyring_->scope_secret(kRootScope));
  }

  std::string ask() { return outcome(keyring_->dek(dek_.file, dek_.version)); }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  Dek dek_;
};

TEST_F(KeyringCache, WithinTheLifetimeTheKmsIsNotAsked) {
  EXPECT_EQ(keyring_->lifetime().ttl_s, kTtl);
  const std::size_t before = store_.kms.unwraps();
  const std::size_t wraps = store_.kms.wraps();
  store_.clock.advance(seconds(kTtl - 60));
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(outcome(keyring_->scope_secret(kRootScope)), "ok");
  EXPECT_EQ(outcome(keyring_->make_deks(kRootScope, 10)), "ok");
  EXPECT_EQ(outcome(keyring_->policy()), "ok");
  FileRecord record{.file = dek_.file, .version = dek_.version, .generation = 1};
  EXPECT_EQ(outcome(keyring_->record({&record, 1})), "ok");
  EXPECT_EQ(store_.kms.unwraps(), before);
  EXPECT_EQ(store_.kms.wraps(), wraps);
}

TEST_F(KeyringCache, AfterItTheKmsIsAskedOnceForEachKey) {
  const std::size_t policy_before = store_.kms.unwraps(Purpose::kPolicyKey);
  const std::size_t keks_before = store_.kms.unwraps(Purpose::kKek);
  store_.clock.advance(seconds(kTtl));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(store_.kms.unwraps(Purpose::kPolicyKey), policy_before + 1);
  EXPECT_EQ(store_.kms.unwraps(Purpose::kKek), keks_before + 1);
  EXPECT_EQ(store_.kms.unwraps(Purpose::kDek), 0U);
}

TEST_F(KeyringCache, AfterItAKmsThatFailsFailsEveryUse) {
  store_.clock.advance(seconds(kTtl));
  store_.kms.fail_with(Error{Code::kKeyUnavailable, ECONNREFUSED, "down"});
  const auto refused = keyring_->dek(dek_.file, dek_.version);
  ASSERT_EQ(outcome(refused), "key-unavailable");
  EXPECT_EQ(refused.error().errno_value, ECONNREFUSED);
  EXPECT_EQ(refused.error().context, "down");
  EXPECT_EQ(outcome(keyring_->scope_secret(kRootScope)), "key-unavailable");
  EXPECT_EQ(outcome(keyring_->make_deks(kRootScope, 1)), "key-unavailable");
  EXPECT_EQ(outcome(keyring_->policy()), "key-unavailable");
  const FileRecord record{.file = dek_.file, .version = dek_.version, .generation = 1};
  EXPECT_EQ(outcome(keyring_->record({&record, 1})), "key-unavailable");

  // The policy key comes back and the KEK does not: still nothing.
  store_.kms.fail_after(1);
  EXPECT_EQ(ask(), "key-unavailable");

  // Each use asks again, so that it recovers at once.
  store_.kms.fail_with(std::nullopt);
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(must_be(keyring_->dek(dek_.file, dek_.version)).generation, 0U);
}

TEST_F(KeyringCache, AClockSetBackDoesNotLengthenALifetime) {
  const std::size_t before = store_.kms.unwraps();
  store_.clock.advance(seconds(-3600));
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(store_.kms.unwraps(), before + 2);
  // From now on they live by the new time.
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(store_.kms.unwraps(), before + 2);
}

TEST_F(KeyringCache, ForgetAsksTheKmsAgain) {
  const std::size_t before = store_.kms.unwraps();
  keyring_->forget_keys();
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(store_.kms.unwraps(), before + 2);
  keyring_->forget_keys();
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  EXPECT_EQ(ask(), "key-unavailable");
}

TEST_F(KeyringCache, AnAnswerFromBeforeForgetIsNotKept) {
  const std::size_t before = store_.kms.unwraps(Purpose::kPolicyKey);
  keyring_->forget_keys();
  store_.kms.hold();
  std::string said;
  std::thread asking([&] { said = ask(); });
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  keyring_->forget_keys();
  store_.kms.let_go();
  asking.join();
  EXPECT_EQ(said, "ok");

  // It served its caller; when the KEK was verified next, the policy key was asked for again.
  EXPECT_EQ(store_.kms.unwraps(Purpose::kPolicyKey), before + 2);
}

TEST_F(KeyringCache, NoLockIsHeldWhileTheKmsIsAsked) {
  // One caller waits for the KMS; what needs the database or the caches only goes on.
  const Dek direct = [&] {
    const ScopeId scope =
        must_be(keyring_->add_scope("/direct", DirId{}, ScopeSettings{.wrap = Wrap::kDirect}));
    return std::move(must_be(keyring_->make_deks(scope, 1)).front());
  }();
  store_.kms.hold();
  std::thread asking([&] { EXPECT_EQ(outcome(keyring_->dek(direct.file, direct.version)), "ok"); });
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(outcome(keyring_->policy()), "ok");
  EXPECT_EQ(outcome(keyring_->make_deks(kRootScope, 1)), "ok");
  EXPECT_EQ(outcome(keyring_->data_version()), "ok");
  EXPECT_EQ(store_.kms.waiting(), 1U);
  store_.kms.let_go();
  asking.join();
}

TEST_F(KeyringCache, ManyThreadsGetTheirKeysAcrossLifetimes) {
  const std::vector<Dek> deks = must_be(keyring_->make_deks(kRootScope, 32));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 200; ++i) {
        const Dek& wanted = deks[(i * 7 + t) % deks.size()];
        const Dek found = must_be(keyring_->dek(wanted.file, wanted.version));
        ASSERT_TRUE(constant_time_equal(found.key.expose(), wanted.key.expose()));
        if (t == 0 && i % 10 == 0) keyring_->forget_keys();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(KeyringDirect, EveryKeyIsTheKmssOwn) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  const std::size_t wraps = store.kms.wraps();
  const std::vector<Dek> deks = must_be(keyring->make_deks(kRootScope, 5));
  EXPECT_EQ(store.kms.wraps(), wraps + 5);
  for (std::size_t i = 0; i < 3; ++i) {
    const Dek found = must_be(keyring->dek(deks[1].file, deks[1].version));
    EXPECT_TRUE(constant_time_equal(found.key.expose(), deks[1].key.expose()));
    EXPECT_EQ(store.kms.unwraps(Purpose::kDek), i + 1);
  }
  store.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  EXPECT_EQ(outcome(keyring->dek(deks[0].file, deks[0].version)), "key-unavailable");
  // The scope's secret is under its KEK, as in every scope.
  store.kms.fail_with(std::nullopt);
  EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "ok");
  EXPECT_EQ(store.kms.unwraps(Purpose::kKek), 1U);
}

TEST(KeyringDirect, AKmsThatFailsHalfWayLeavesNoKeys) {
  TestStore store({.root_wrap = Wrap::kDirect, .root_selectors = {}});
  const auto keyring = store.open();
  store.kms.fail_after(3);
  EXPECT_EQ(outcome(keyring->make_deks(kRootScope, 5)), "key-unavailable");
  int rows = 0;
  must_be(keyring->visit_keys([&](const KeyRow&) {
    ++rows;
    return true;
  }));
  EXPECT_EQ(rows, 0);
}

}  // namespace
}  // namespace coffer
