// How long keys are used: asked for once however many wait, refreshed before their time is over,
// and kept through an outage no longer than was said.

#include <gtest/gtest.h>

#include <chrono>
#include <new>
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

constexpr std::int64_t kGrace = 300;

class KeyringLifetime : public ::testing::Test {
 protected:
  KeyringLifetime() { open({.ttl_s = kTtl, .grace_s = kGrace}); }

  void open(KeyLifetime lifetime) {
    keyring_ = store_.open(Keyring::Access::kReadWrite, lifetime);
    dek_ = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
  }
  std::string ask() { return outcome(keyring_->dek(dek_.file, dek_.version)); }
  void fail_with(Code code) { store_.kms.fail_with(Error{code, 0, "as told"}); }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  Dek dek_;
};

TEST_F(KeyringLifetime, OneAsksForAllWhoWait) {
  const std::size_t policy = store_.kms.unwraps(Purpose::kPolicyKey);
  const std::size_t keks = store_.kms.unwraps(Purpose::kKek);
  store_.clock.advance(seconds(kTtl));
  store_.kms.hold();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([this] { EXPECT_EQ(ask(), "ok"); });
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  store_.kms.let_go();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_.kms.unwraps(Purpose::kPolicyKey), policy + 1);
  EXPECT_EQ(store_.kms.unwraps(Purpose::kKek), keks + 1);
}

TEST_F(KeyringLifetime, ForgottenKeysAreAskedForBesideAnOlderQuestion) {
  store_.clock.advance(seconds(kTtl));
  store_.kms.hold();
  std::thread before([this] { EXPECT_EQ(ask(), "ok"); });
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  keyring_->forget_keys();
  std::thread after([this] { EXPECT_EQ(ask(), "ok"); });
  EXPECT_TRUE(eventually([&] { return store_.kms.waiting() == 2; }));
  store_.kms.let_go();
  before.join();
  after.join();
}

TEST_F(KeyringLifetime, WhoeverWaitsIsAnsweredThoughMemoryRunsOut) {
  store_.clock.advance(seconds(kTtl));
  store_.kms.run_out_of_memory(true);
  store_.kms.hold();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      try {
        EXPECT_EQ(ask(), "exhausted");
      } catch (const std::bad_alloc&) {  // whoever asked himself
      }
    });
  }
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  store_.kms.let_go();
  for (std::thread& thread : threads) thread.join();
  store_.kms.run_out_of_memory(false);
  EXPECT_EQ(ask(), "ok");
}

TEST_F(KeyringLifetime, AnOutageIsSurvivedForTheGrace) {
  store_.clock.advance(seconds(kTtl));
  fail_with(Code::kKmsUnavailable);
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(outcome(keyring_->policy()), "ok");
  store_.clock.advance(seconds(kGrace - 60));
  EXPECT_EQ(ask(), "ok");
  store_.clock.advance(seconds(60));
  EXPECT_EQ(ask(), "kms-unavailable");
  EXPECT_EQ(outcome(keyring_->policy()), "kms-unavailable");
  store_.kms.fail_with(std::nullopt);
  EXPECT_EQ(ask(), "ok");
  // A whole lifetime again.
  fail_with(Code::kKmsUnavailable);
  store_.clock.advance(seconds(kTtl + kGrace - 60));
  EXPECT_EQ(ask(), "ok");
}

TEST_F(KeyringLifetime, WithinTheGraceOneAloneFindsOutThatTheKmsIsBack) {
  store_.clock.advance(seconds(kTtl));
  fail_with(Code::kKmsUnavailable);
  EXPECT_EQ(ask(), "ok");
  store_.kms.hold();
  std::thread asking([this] { EXPECT_EQ(ask(), "ok"); });
  ASSERT_TRUE(eventually([&] { return store_.kms.waiting() == 1; }));
  EXPECT_EQ(outcome(keyring_->policy()), "ok");
  EXPECT_EQ(store_.kms.waiting(), 1U);
  store_.kms.let_go();
  asking.join();
}

TEST_F(KeyringLifetime, NoGraceForARefusal) {
  for (const Code code : {Code::kKmsDenied, Code::kKmsKeyMissing, Code::kKmsKeyDisabled,
                          Code::kKeyUnavailable, Code::kCorrupt, Code::kWrongKey}) {
    store_.kms.fail_with(std::nullopt);
    ASSERT_EQ(ask(), "ok");
    store_.clock.advance(seconds(kTtl));
    fail_with(code);
    EXPECT_EQ(ask(), to_string(code));
    // Nor does an outage after it bring the key back.
    fail_with(Code::kKmsUnavailable);
    EXPECT_EQ(ask(), "kms-unavailable") << to_string(code);
  }
}

TEST_F(KeyringLifetime, NoGraceUnlessAskedFor) {
  open({.ttl_s = kTtl});
  store_.clock.advance(seconds(kTtl - 1));
  fail_with(Code::kKmsUnavailable);
  EXPECT_EQ(ask(), "ok");
  store_.clock.advance(seconds(1));
  EXPECT_EQ(ask(), "kms-unavailable");
}

TEST_F(KeyringLifetime, AClockSetBackDoesNotLengthenTheGrace) {
  store_.clock.advance(seconds(kTtl));
  fail_with(Code::kKmsUnavailable);
  EXPECT_EQ(ask(), "ok");
  store_.clock.advance(seconds(-kTtl - 60));
  EXPECT_EQ(ask(), "kms-unavailable");
}

TEST_F(KeyringLifetime, KeysInUseAreAskedForBeforeTheirTimeIsOver) {
  ASSERT_EQ(ask(), "ok");
  const std::size_t before = store_.kms.unwraps();
  store_.clock.advance(seconds(kTtl / 2));
  keyring_->refresh_keys();
  EXPECT_EQ(store_.kms.unwraps(), before);
  store_.clock.advance(seconds(kTtl / 4 + 1));
  keyring_->refresh_keys();
  EXPECT_EQ(store_.kms.unwraps(), before + 2);
  // So that nobody has to wait for them then.
  store_.clock.advance(seconds(kTtl / 2));
  EXPECT_EQ(ask(), "ok");
  EXPECT_EQ(store_.kms.unwraps(), before + 2);
}

TEST_F(KeyringLifetime, AKeyThatNobodyUsesIsNotAskedForAgain) {
  ASSERT_EQ(ask(), "ok");
  store_.clock.advance(seconds(kTtl - 1));
  keyring_->refresh_keys();
  const std::size_t keks = store_.kms.unwraps(Purpose::kKek);
  store_.clock.advance(seconds(kTtl - 1));
  keyring_->refresh_keys();
  EXPECT_EQ(store_.kms.unwraps(Purpose::kKek), keks);
}

TEST_F(KeyringLifetime, WhatTheKmsRefusesGoesAtOnce) {
  ASSERT_EQ(ask(), "ok");
  store_.clock.advance(seconds(kTtl - kTtl / 8));
  fail_with(Code::kKmsUnavailable);
  keyring_->refresh_keys();
  EXPECT_EQ(ask(), "ok");
  fail_with(Code::kKmsKeyDisabled);
  keyring_->refresh_keys();
  EXPECT_EQ(ask(), "kms-key-disabled");
}

TEST_F(KeyringLifetime, ALockedKeyringAsksForNothing) {
  ASSERT_EQ(ask(), "ok");
  keyring_->lock();
  const std::size_t before = store_.kms.unwraps();
  store_.clock.advance(seconds(kTtl - 1));
  keyring_->refresh_keys();
  EXPECT_EQ(store_.kms.unwraps(), before);
  EXPECT_EQ(ask(), "key-unavailable");
}

}  // namespace
}  // namespace coffer
