// A broker at work while policy changes under it: by itself, by other processes, by an attacker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "keystore/broker/key_broker.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_audit_lines.h"
#include "tests/support/keystore_process.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"
#include "tests/unit/keystore/broker/policies.h"

namespace coffer {
namespace {

using testing::ChildProcess;
using testing::eventually;
using testing::everyone_grant;
using testing::kRead;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;
using testing::user;

class KeyBrokerLive : public ::testing::Test {
 protected:
  void start() {
    keyring_ = store_.open();
    file_ = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
    audit_ = must_be(AuditLog::open(log_path_, store_.id, store_.clock, testing::audit_keys()));
    broker_ = must_be(KeyBroker::create(*keyring_, *audit_, store_.clock));
  }

  std::string ask(const Identity& who) {
    return outcome(
        broker_->release(file_.file, file_.version,
                         {.scope = kRootScope, .who = who, .rights = kRead, .path = "/f"}));
  }

  TestStore store_{{.root_wrap = Wrap::kKek, .root_selectors = {"unix:uid:1"}}};
  const std::string log_path_ = store_.dir.file("audit.log");
  std::unique_ptr<Keyring> keyring_;
  Dek file_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<KeyBroker> broker_;
  const Identity owner_ = user(1);
  const Identity guest_ = user(2);
};

/// What this very process changed nobody watches for, and another's is seen within a second.
TEST_F(KeyBrokerLive, CatchesUpAtOnce) {
  start();
  must_be(keyring_->add_grant(selector_grant(kRootScope, {"unix:uid:2"})));
  EXPECT_EQ(ask(user(2)), "denied");
  must_be(broker_->catch_up());
  EXPECT_EQ(ask(user(2)), "ok");
  const std::uint64_t changes = broker_->changes();
  must_be(broker_->catch_up());
  EXPECT_EQ(broker_->changes(), changes) << "there was nothing to read";
  const auto other = store_.open();
  must_be(other->revoke_grant(GrantId{2}));
  must_be(broker_->catch_up());
  EXPECT_EQ(ask(user(2)), "revoked");
  RawDatabase(store_.path).run("DELETE FROM grants;");
  EXPECT_EQ(outcome(broker_->catch_up()), "corrupt");
  EXPECT_EQ(ask(owner_), "corrupt");
}

TEST_F(KeyBrokerLive, AChangeOfAnotherProcessIsSeenWithoutAsking) {
  ChildProcess granting([this]() -> bool {
    const auto mine = store_.try_open();
    return mine.ok() && (*mine)->add_grant(selector_grant(kRootScope, {"unix:uid:2"})).ok();
  });
  ChildProcess revoking([this]() -> bool {
    const auto mine = store_.try_open();
    return mine.ok() && (*mine)->revoke_grant(GrantId{2}).ok();
  });
  start();
  EXPECT_EQ(ask(guest_), "denied");
  granting.start();
  ASSERT_TRUE(granting.succeeded());
  EXPECT_TRUE(eventually([&] { return ask(guest_) == "ok"; }));
  revoking.start();
  ASSERT_TRUE(revoking.succeeded());
  EXPECT_TRUE(eventually([&] { return ask(guest_) == "revoked"; }));
  EXPECT_EQ(ask(owner_), "ok");
}

TEST_F(KeyBrokerLive, TellsWhenDecisionsMayHaveChanged) {
  start();
  std::atomic<int> told = 0;
  broker_->when_changed([&] { ++told; });
  const AccessRequest request{.scope = kRootScope, .who = guest_, .rights = kRead, .path = "/f"};
  GrantRow ends_soon = selector_grant(kRootScope, {"unix:uid:2"});
  ends_soon.not_after = store_.clock.unix_seconds() + 3;
  must_be(keyring_->add_grant(ends_soon));
  must_be(broker_->reload());
  EXPECT_EQ(ask(guest_), "ok");
  EXPECT_TRUE(eventually([&] { return told > 0; }));
  EXPECT_FALSE(broker_->withdrawn(request, DekId{file_.file, file_.version}).has_value());
  const std::uint64_t changes = broker_->changes();
  // Nothing is changed in the keystore now: time alone tells.
  EXPECT_TRUE(eventually([&] { return broker_->changes() > changes; }));
  const auto refused = broker_->withdrawn(request, DekId{file_.file, file_.version});
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->code, Code::kExpired);
  EXPECT_EQ(refused->errno_value, EKEYEXPIRED);
  const auto last = testing::audit_lines(log_path_).back();
  EXPECT_EQ(last.at("event"), "withdraw");
  EXPECT_EQ(last.at("decision"), "deny");
  EXPECT_EQ(last.at("file"), file_.file.hex());
  broker_->when_changed(nullptr);
  const int before = told;
  must_be(broker_->reload());
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_EQ(told, before);
}

/// Who was let in and is denied, or has no grant left, has had it revoked: open files say so.
TEST_F(KeyBrokerLive, WithdrawnIsRevokedOrExpired) {
  start();
  const AccessRequest owners{.scope = kRootScope, .who = owner_, .rights = kRead, .path = "/f"};
  EXPECT_FALSE(broker_->withdrawn(owners, std::nullopt).has_value());
  GrantRow deny = selector_grant(kRootScope, {"unix:uid:1"});
  deny.deny = true;
  must_be(keyring_->add_grant(deny));
  must_be(broker_->reload());
  const auto refused = broker_->withdrawn(owners, std::nullopt);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->errno_value, EKEYREVOKED);
}

TEST_F(KeyBrokerLive, WhatIsReleasedStaysSoWhileThePolicyCannotBeRead) {
  start();
  const AccessRequest request{.scope = kRootScope, .who = owner_, .rights = kRead, .path = "/f"};
  RawDatabase raw(store_.path);
  raw.run("UPDATE grants SET everyone = 1");
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "corrupt"; }));
  EXPECT_FALSE(broker_->withdrawn(request, std::nullopt).has_value());
  raw.run("UPDATE grants SET everyone = 0");
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "ok"; }));
}

TEST_F(KeyBrokerLive, AChangeOfItsOwnIsSeenOnReload) {
  start();
  EXPECT_EQ(ask(guest_), "denied");
  must_be(keyring_->add_grant(selector_grant(kRootScope, {"unix:uid:2"})));
  must_be(broker_->reload());
  EXPECT_EQ(ask(guest_), "ok");
  EXPECT_EQ(must_be(broker_->policy())->generation(), 2U);
}

TEST_F(KeyBrokerLive, AnAlteredPolicyFailsEveryReleaseUntilItIsMended) {
  start();
  ASSERT_EQ(ask(owner_), "ok");
  RawDatabase raw(store_.path);
  raw.run("UPDATE grants SET everyone = 1");
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "corrupt"; }));
  EXPECT_EQ(ask(guest_), "corrupt");
  EXPECT_EQ(outcome(broker_->policy()), "corrupt");
  EXPECT_EQ(outcome(broker_->reload()), "corrupt");
  const AccessRequest request{.scope = kRootScope, .who = owner_, .rights = kRead, .path = "/g"};
  EXPECT_EQ(outcome(broker_->release_new(request)), "corrupt");
  EXPECT_EQ(outcome(broker_->release_names(request, KeyBroker::Lines::kRefusals)), "corrupt");
  EXPECT_EQ(outcome(broker_->check(request)), "corrupt");
  // And says so, for each.
  const auto last = testing::audit_lines(log_path_).back();
  EXPECT_EQ(last.at("event"), "refuse");
  EXPECT_EQ(last.at("path"), "/g");
  EXPECT_EQ(last.at("identity").at("uid"), 1);
  EXPECT_THAT(last.at("reason").get<std::string>(), ::testing::HasSubstr("altered"));

  raw.run("UPDATE grants SET everyone = 0");
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "ok"; }));
  EXPECT_EQ(ask(guest_), "denied");
}

TEST_F(KeyBrokerLive, AGrantThatIsNotUnderstoodFailsEveryRelease) {
  start();
  // Authentic, but of a newer program: it may be a deny.
  testing::change_policy_by_hand(
      store_, "UPDATE grant_selectors SET selector = 'tpm:pcr:7' WHERE grant_id = 1");
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "corrupt"; }));
  EXPECT_EQ(ask(guest_), "corrupt");
}

TEST_F(KeyBrokerLive, AnOlderPolicyPutBackUnderALiveBrokerIsRefused) {
  const std::string old = store_.dir.file("old.db");
  std::filesystem::copy_file(store_.path, old);
  must_be(store_.open()->revoke_grant(GrantId{1}));
  const std::string revoked = store_.dir.file("revoked.db");
  std::filesystem::copy_file(store_.path, revoked);
  start();
  EXPECT_EQ(ask(owner_), "revoked");
  const auto put_back = [&](const std::string& from) {
    RawDatabase raw(store_.path);
    raw.run("ATTACH '" + from + "' AS source; BEGIN;");
    for (const char* table : {"meta", "masters", "scopes", "keks", "grants", "grant_selectors"}) {
      const std::string name = table;
      raw.run("DELETE FROM main." + name + "; INSERT INTO main." + name + " SELECT * FROM source." +
              name);
    }
    raw.run("COMMIT");
  };
  put_back(old);
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "rolled-back"; }));
  EXPECT_EQ(outcome(broker_->reload()), "rolled-back");
  // It is authentic; only who has seen the newer one can tell.
  EXPECT_EQ(must_be(store_.open()->policy()).generation, 1U);

  put_back(revoked);
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "revoked"; }));
}

TEST_F(KeyBrokerLive, AKmsThatFailsWhenThePolicyIsReadAgainFailsReleasesUntilItRecovers) {
  start();
  const auto other = store_.open();
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  keyring_->forget_keys();
  EXPECT_EQ(outcome(broker_->reload()), "key-unavailable");
  EXPECT_EQ(ask(owner_), "key-unavailable");
  store_.kms.fail_with(std::nullopt);
  EXPECT_TRUE(eventually([&] { return ask(owner_) == "ok"; }));
}

TEST_F(KeyBrokerLive, IsNotMadeOnAPolicyItCannotRead) {
  start();
  broker_.reset();
  RawDatabase(store_.path).run("UPDATE grants SET rights = 4");
  EXPECT_EQ(outcome(KeyBroker::create(*keyring_, *audit_, store_.clock)), "corrupt");
}

TEST_F(KeyBrokerLive, GivesBackTheKeysOfItsPool) {
  start();
  must_be(broker_->release_new(
      {.scope = kRootScope, .who = owner_, .rights = Rights{4}, .path = "/new"}));
  EXPECT_EQ(RawDatabase(store_.path).number("SELECT count(*) FROM deks"), 17);
  broker_.reset();
  EXPECT_EQ(RawDatabase(store_.path).number("SELECT count(*) FROM deks"), 2);
}

TEST_F(KeyBrokerLive, ReloadsSideBySideNeverGoBack) {
  start();
  std::atomic<bool> stop{false};
  std::vector<std::thread> reloading;
  for (int t = 0; t < 3; ++t) {
    reloading.emplace_back([&] {
      while (!stop) (void)broker_->reload();
    });
  }
  for (std::uint64_t i = 2; i < 40; ++i) {
    must_be(keyring_->add_grant(everyone_grant(kRootScope)));
    must_be(broker_->reload());
    EXPECT_GE(must_be(broker_->policy())->generation(), i);
    EXPECT_EQ(ask(guest_), "ok");
  }
  stop = true;
  for (std::thread& thread : reloading) thread.join();
}

TEST_F(KeyBrokerLive, ReleasesGoOnWhilePolicyChanges) {
  start();
  std::atomic<bool> stop{false};
  std::atomic<int> released{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        ASSERT_EQ(ask(owner_), "ok");
        ASSERT_EQ(outcome(broker_->release_names(
                      {.scope = kRootScope, .who = owner_, .rights = kRead, .path = "/"},
                      KeyBroker::Lines::kRefusals)),
                  "ok");
        ++released;
      }
    });
  }
  const auto other = store_.open();
  for (int i = 0; i < 20; ++i) {
    must_be(other->add_grant(selector_grant(kRootScope, {"unix:uid:2"})));
    must_be(broker_->reload());
    must_be(broker_->release_new(
        {.scope = kRootScope, .who = owner_, .rights = Rights{4}, .path = "/new"}));
  }
  EXPECT_TRUE(eventually([&] { return released > 100; }));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(testing::audit_lines(log_path_).size(), audit_->lines());
}

TEST(KeyBrokerStart, AChangeWhileTheBrokerIsMadeIsNotMissed) {
  // Another process makes changes until just after the broker is made. Where its last one falls is
  // left to chance, so there are several brokers.
  struct Case {
    TestStore store;
    std::unique_ptr<Keyring> keyring;
    std::unique_ptr<AuditLog> audit;
    std::unique_ptr<KeyBroker> broker;
    std::uint64_t last = 0;
  };
  std::vector<std::unique_ptr<Case>> cases;
  for (int i = 0; i < 12; ++i) {
    auto each = std::make_unique<Case>();
    each->keyring = each->store.open();
    each->audit = must_be(AuditLog::open(each->store.dir.file("log"), each->store.id,
                                         each->store.clock, testing::audit_keys()));
    std::atomic<int> changes{0};
    std::atomic<bool> made{false};
    std::thread changing([&] {
      const auto other = each->store.open();
      while (!made) {
        must_be(other->add_grant(everyone_grant(kRootScope)));
        ++changes;
      }
      each->last = must_be(other->policy()).generation;
    });
    EXPECT_TRUE(eventually([&] { return changes > 0; }));
    each->broker = must_be(KeyBroker::create(*each->keyring, *each->audit, each->store.clock));
    made = true;
    changing.join();
    cases.push_back(std::move(each));
  }
  for (const auto& each : cases) {
    EXPECT_TRUE(
        eventually([&] { return must_be(each->broker->policy())->generation() == each->last; }));
  }
}

}  // namespace
}  // namespace coffer
