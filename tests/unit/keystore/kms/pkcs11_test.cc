// The PKCS#11 provider on tokens of SoftHSM.

#include <gtest/gtest.h>
#include <p11-kit/pkcs11.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/master_kms.h"
#include "keystore/kms/pkcs11_kms.h"
#include "tests/support/faulty_pkcs11.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/support/threads.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/soft_token.h"

namespace coffer {
namespace {

using testing::SoftTokens;

Result<SecretBytes> pin_1234(bool confirm) {
  EXPECT_FALSE(confirm);
  return SecretBytes::copy_of(as_bytes("1234"));
}

KmsProvider soft_hsm_provider() {
  return {"SoftHsm",
          [] {
            const auto tokens = std::make_shared<SoftTokens>();
            tokens->add_token("coffer");
            const auto make = [&](const std::string& name) {
              tokens->add_key("coffer", name);
              auto master = create_master("pkcs11:token=coffer;object=" + name, pin_1234);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make("first"), make("second"), pin_1234, pin_1234, tokens};
          },
          testing::have_soft_tokens};
}

INSTANTIATE_TEST_SUITE_P(SoftHsm, MasterKmsContract, ::testing::Values(soft_hsm_provider()),
                         kms_provider_name);

class Pkcs11 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_soft_tokens()) COFFER_SKIP("no SoftHSM or pkcs11-tool");
    tokens_.emplace();
    tokens_->add_token("coffer");
    tokens_->add_key("coffer", "kek");
  }
  static std::string outcome_of(const std::string& uri, const PassphraseSource& pin = pin_1234) {
    const auto master = create_master(uri, pin);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  static std::string words_of(const std::string& uri) {
    const auto master = create_master(uri, pin_1234);
    return master ? "ok" : master.error().message();
  }
  static std::unique_ptr<MasterKms> open() {
    auto master = create_master(kUri, pin_1234);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  /// Without the patience of others that stands before it.
  static std::unique_ptr<Pkcs11Kms> alone() {
    auto master = Pkcs11Kms::open(kUri, pin_1234);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  template <typename Function>
  static auto* module_function(const char* name) {
    return reinterpret_cast<Function*>(testing::faulty_module_function(name));
  }
  static void fail_next_uses(CK_RV outcome, unsigned times) {
    module_function<decltype(fail_uses)>("fail_uses")(outcome, times);
  }
  static void fail_next_sessions(CK_RV outcome, unsigned times) {
    module_function<decltype(fail_sessions)>("fail_sessions")(outcome, times);
  }
  static void hold_all_uses(bool held) { module_function<decltype(hold_uses)>("hold_uses")(held); }
  static unsigned logins_so_far() { return module_function<decltype(logins)>("logins")(); }

  static constexpr const char* kUri = "pkcs11:token=coffer;object=kek";
  std::optional<SoftTokens> tokens_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(Pkcs11, WhatIsOnRecordHoldsNoSecret) {
  const std::string uri = std::string(kUri) + "?pin-source=file:" + tokens_->pin_file("1234\n");
  const auto master = create_master(uri, no_passphrase);
  ASSERT_TRUE(master.ok()) << master.error().message();
  const MasterKeyRecord record = (*master)->describe();
  EXPECT_EQ(record.uri, uri);
  EXPECT_EQ(record.params, "");
  EXPECT_EQ(record.version.size(), 16U);
  EXPECT_EQ(open()->describe().version, record.version) << "it is the same key";
}

TEST_F(Pkcs11, ThePinsFileIsPrivateAndHoldsOne) {
  const auto from = [&](const std::string& path) {
    return outcome_of(std::string(kUri) + "?pin-source=" + path, no_passphrase);
  };
  EXPECT_EQ(from(tokens_->pin_file("1234")), "ok");
  EXPECT_EQ(from(tokens_->pin_file("1234\nmore\n", 0400)), "ok");
  for (const unsigned mode : {0640U, 0604U, 0660U, 0644U})
    EXPECT_EQ(from(tokens_->pin_file("1234", mode)), "key-unavailable") << mode;
  EXPECT_EQ(from(tokens_->pin_file("")), "key-unavailable");
  EXPECT_EQ(from(tokens_->pin_file("\n1234")), "key-unavailable");
  EXPECT_EQ(from(tokens_->pin_file(std::string(300, '1'))), "key-unavailable");
  EXPECT_EQ(from("/nowhere/pin"), "key-unavailable");
  EXPECT_EQ(from("relative"), "key-unavailable");
  EXPECT_EQ(from("/dev/null"), "key-unavailable");
}

TEST_F(Pkcs11, ThePinsFileIsNoOtherUsers) {
  if (!testing::is_root()) COFFER_SKIP("only root can give a file away");
  const std::string path = tokens_->pin_file("1234");
  ASSERT_EQ(::chown(path.c_str(), 1234, 1234), 0);
  EXPECT_EQ(outcome_of(std::string(kUri) + "?pin-source=" + path, no_passphrase),
            "key-unavailable");
}

TEST_F(Pkcs11, AWrongPinIsTriedOnce) {
  unsigned asked = 0;
  const auto wrong = [&asked](bool) -> Result<SecretBytes> {
    ++asked;
    return SecretBytes::copy_of(as_bytes("4321"));
  };
  const unsigned before = logins_so_far();
  EXPECT_EQ(outcome_of(kUri, wrong), "wrong-key");
  EXPECT_EQ(asked, 1U);
  EXPECT_EQ(logins_so_far(), before + 1) << "a token locks itself after a few";
  EXPECT_EQ(outcome_of(kUri), "ok");
}

TEST_F(Pkcs11, APinThatIsChangedInMidRun) {
  const std::string path = tokens_->pin_file("1234");
  const auto master = Pkcs11Kms::open(std::string(kUri) + "?pin-source=" + path, no_passphrase);
  ASSERT_TRUE(master.ok()) << master.error().message();
  tokens_->change_pin("coffer", "1234", "4321");
  fail_next_uses(CKR_SESSION_CLOSED, 1);
  const unsigned before = logins_so_far();
  for (int attempt = 0; attempt < 5; ++attempt)
    EXPECT_EQ((*master)->wrap(key_, context_).error().code, Code::kWrongKey);
  EXPECT_EQ(logins_so_far(), before + 1) << "which the token counts";
  ASSERT_TRUE(replace_file(path, as_bytes("4321"), 0600).ok());
  EXPECT_TRUE((*master)->wrap(key_, context_).ok());
}

TEST_F(Pkcs11, UrisThatCannotBe) {
  for (const char* const uri :
       {"pkcs11:token", "pkcs11:token=%zz", "pkcs11:token=coffer;colour=red",
        "pkcs11:token=coffer;object=kek?pin-value=1234",
        "pkcs11:token=coffer;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so",
        "pkcs11:token=coffer;object=kek?module-name=softhsm2"}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
  }
  const std::string words = words_of("pkcs11:token=coffer;object=kek?pin-value=7531");
  EXPECT_EQ(words.find("7531"), std::string::npos) << words;
}

TEST_F(Pkcs11, ExactlyOneKeyIsMeant) {
  EXPECT_EQ(outcome_of("pkcs11:token=other;object=kek"), "kms-unavailable");
  EXPECT_EQ(outcome_of("pkcs11:token=coffer;object=other"), "kms-key-missing");
  EXPECT_NE(words_of("pkcs11:token=coffer;object=other").find("pkcs11-tool"), std::string::npos);
  EXPECT_EQ(outcome_of("pkcs11:token=coffer"), "ok") << "there is but one";
  tokens_->add_key("coffer", "another", "--key-type AES:32 --sensitive --id 0a");
  EXPECT_EQ(outcome_of("pkcs11:token=coffer"), "invalid");
  EXPECT_EQ(outcome_of("pkcs11:token=coffer;id=%0a"), "ok");
  tokens_->add_token("second");
  EXPECT_EQ(outcome_of("pkcs11:object=kek"), "invalid");
}

TEST_F(Pkcs11, KeysThatAreNone) {
  tokens_->add_key("coffer", "open", "--key-type AES:32 --extractable");
  tokens_->add_key("coffer", "short", "--key-type AES:16 --sensitive");
  EXPECT_EQ(outcome_of("pkcs11:token=coffer;object=open"), "unsupported");
  EXPECT_EQ(outcome_of("pkcs11:token=coffer;object=short"), "unsupported");
}

TEST_F(Pkcs11, AnotherKeyOfTheSameNameIsNoticed) {
  const MasterKeyRecord record = open()->describe();
  tokens_->remove_key("coffer", "kek");
  tokens_->add_key("coffer", "kek");
  const auto master = open_master(record, pin_1234);
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().code, Code::kWrongKey) << master.error().message();
}

/// The key of a session that is lost may be gone meanwhile.
TEST_F(Pkcs11, AnotherKeyOfTheSameNameIsNoticedInMidRun) {
  const auto master = alone();
  const ByteVector wrapped = *master->wrap(key_, context_);
  tokens_->remove_key("coffer", "kek");
  tokens_->add_key("coffer", "kek");
  fail_next_uses(CKR_SESSION_CLOSED, 1);
  for (int attempt = 0; attempt < 2; ++attempt) {
    EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kWrongKey);
    EXPECT_EQ(master->unwrap(wrapped, context_).error().code, Code::kWrongKey);
  }
}

TEST_F(Pkcs11, ALostSessionIsOpenedAnew) {
  const auto master = alone();
  const ByteVector wrapped = *master->wrap(key_, context_);
  for (const CK_RV lost : {CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_DEVICE_REMOVED,
                           CKR_DEVICE_ERROR, CKR_TOKEN_NOT_PRESENT, CKR_USER_NOT_LOGGED_IN,
                           CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID}) {
    SCOPED_TRACE(lost);
    fail_next_uses(lost, 1);
    const auto unwrapped = master->unwrap(wrapped, context_);
    ASSERT_TRUE(unwrapped.ok()) << unwrapped.error().message();
    EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key_.expose()));
    fail_next_uses(lost, 1);
    EXPECT_TRUE(master->wrap(key_, context_).ok());
  }
}

TEST_F(Pkcs11, ATokenThatComesBackInTimeWasNeverGone) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  fail_next_uses(CKR_DEVICE_REMOVED, 1);
  fail_next_sessions(CKR_TOKEN_NOT_PRESENT, 3);
  EXPECT_TRUE(master->unwrap(wrapped, context_).ok());
}

TEST_F(Pkcs11, ATokenThatHangsIsNotWaitedForWithoutEnd) {
  const std::string uri = std::string(kUri) + "?pin-source=" + tokens_->pin_file("1234");
  ASSERT_EQ(outcome_of(uri), "ok");
  const std::size_t before = testing::count_threads();
  hold_all_uses(true);
  EXPECT_EQ(outcome_of(uri), "kms-unavailable") << "it opens by using the key once";
  hold_all_uses(false);
  while (testing::count_threads() > before) std::this_thread::yield();
}

/// SoftHSM says the same of what does not authenticate.
TEST_F(Pkcs11, TroubleOfTheTokensIsNotTakenForDamage) {
  const auto master = alone();
  const ByteVector wrapped = *master->wrap(key_, context_);
  for (const CK_RV trouble : {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED}) {
    fail_next_uses(trouble, 2);
    const auto unwrapped = master->unwrap(wrapped, context_);
    ASSERT_FALSE(unwrapped.ok());
    EXPECT_EQ(unwrapped.error().code, Code::kKmsUnavailable) << unwrapped.error().message();
    fail_next_uses(trouble, 1);
    EXPECT_EQ(master->unwrap(wrapped, context_).error().code, Code::kCorrupt);
  }
  fail_next_uses(CKR_KEY_FUNCTION_NOT_PERMITTED, 2);
  EXPECT_EQ(master->unwrap(wrapped, context_).error().code, Code::kKmsDenied);
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsDenied);
}

}  // namespace
}  // namespace coffer
