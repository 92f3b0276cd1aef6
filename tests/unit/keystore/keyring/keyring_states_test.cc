// States that an admin brings scopes and the keys of files into (SP 800-57).

#include <gtest/gtest.h>

#include "keystore/keyring/keyring.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::outcome;
using testing::TestStore;

class KeyringStates : public ::testing::Test {
 protected:
  KeyringStates() {
    keyring_ = store_.open();
    scope_ = must_be(keyring_->add_scope("/apart", DirId{}, ScopeSettings{}));
    dek_ = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
    const FileRecord record{.file = dek_.file, .version = dek_.version, .generation = 7};
    must_be(keyring_->record({&record, 1}));
  }
  KeyState state_of(ScopeId scope) {
    for (const ScopeRow& row : must_be(keyring_->policy()).scopes) {
      if (row.id == scope) return row.state;
    }
    return KeyState::kDestroyed;
  }
  [[nodiscard]] DekId key() const { return {dek_.file, dek_.version}; }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  ScopeId scope_;
  Dek dek_;
};

TEST_F(KeyringStates, AScopeIsSuspendedAndResumed) {
  EXPECT_EQ(outcome(keyring_->set_scope_state(scope_, KeyState::kSuspended)), "ok");
  EXPECT_EQ(state_of(scope_), KeyState::kSuspended);
  EXPECT_EQ(state_of(kRootScope), KeyState::kActive);
  EXPECT_EQ(outcome(keyring_->make_deks(scope_, 1)), "revoked");
  EXPECT_EQ(outcome(keyring_->set_scope_state(scope_, KeyState::kSuspended)), "exists");
  EXPECT_EQ(outcome(keyring_->set_scope_state(scope_, KeyState::kActive)), "ok");
  EXPECT_EQ(outcome(keyring_->make_deks(scope_, 1)), "ok");
  EXPECT_EQ(outcome(keyring_->set_scope_state(ScopeId{99}, KeyState::kSuspended)), "not-found");
  EXPECT_EQ(state_of(kRootScope), KeyState::kActive);
}

TEST_F(KeyringStates, AFilesKeyIsSuspendedAndResumed) {
  EXPECT_EQ(outcome(keyring_->set_key_state(key(), KeyState::kSuspended)), "ok");
  EXPECT_EQ(outcome(keyring_->dek(dek_.file, dek_.version)), "revoked");
  EXPECT_EQ(outcome(keyring_->dek(dek_.file, dek_.version, DekUse::kRecovery)), "revoked");
  EXPECT_EQ(outcome(keyring_->set_key_state(key(), KeyState::kActive)), "ok");
  EXPECT_EQ(must_be(keyring_->dek(dek_.file, dek_.version)).generation, 7U) << "all else is kept";
  EXPECT_EQ(outcome(keyring_->set_key_state({FileId{}, KeyVersion{1}}, KeyState::kSuspended)),
            "not-found");
}

TEST_F(KeyringStates, WhatIsCompromisedNeverComesBack) {
  must_be(keyring_->set_key_state(key(), KeyState::kCompromised));
  must_be(keyring_->set_scope_state(scope_, KeyState::kCompromised));
  for (const KeyState state : {KeyState::kActive, KeyState::kSuspended, KeyState::kDeactivated}) {
    EXPECT_EQ(outcome(keyring_->set_key_state(key(), state)), "invalid");
    EXPECT_EQ(outcome(keyring_->set_scope_state(scope_, state)), "invalid");
  }
}

TEST_F(KeyringStates, AnAlteredRowIsNotMadeGood) {
  testing::RawDatabase(store_.path).run("UPDATE deks SET state = 3, generation = 1");
  EXPECT_EQ(outcome(keyring_->set_key_state(key(), KeyState::kActive)), "corrupt");
  EXPECT_EQ(outcome(keyring_->dek(dek_.file, dek_.version)), "corrupt");
}

TEST(KeyStates, LeadToEachOther) {
  using enum KeyState;
  const auto reached_from = [](KeyState to) {
    std::vector<KeyState> from;
    for (const KeyState state :
         {kPreActivation, kActive, kSuspended, kDeactivated, kCompromised, kDestroyed}) {
      if (may_become(state, to)) from.push_back(state);
    }
    return from;
  };
  using States = std::vector<KeyState>;
  EXPECT_EQ(reached_from(kPreActivation), States{});
  EXPECT_EQ(reached_from(kActive), (States{kSuspended, kDeactivated}));
  EXPECT_EQ(reached_from(kSuspended), (States{kPreActivation, kActive}));
  EXPECT_EQ(reached_from(kDeactivated), (States{kPreActivation, kActive, kSuspended}));
  EXPECT_EQ(reached_from(kCompromised),
            (States{kPreActivation, kActive, kSuspended, kDeactivated}));
  EXPECT_EQ(reached_from(kDestroyed), States{});
}

}  // namespace
}  // namespace coffer
