#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "keystore/crypto/kdf.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/master_kms.h"
#include "tests/support/vectors.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"

namespace coffer {
namespace {

using testing::unhex;

constexpr const char* kUri = "passphrase:";
/// As cheap as is accepted; the salt is of no account.
constexpr const char* kCheap = "scrypt ln=10 r=8 p=1 salt=000102030405060708090a0b0c0d0e0f";

/// Answers with a text, and counts how often it was asked and how.
class Answers {
 public:
  explicit Answers(std::string text) : text_(std::move(text)) {}
  PassphraseSource source() {
    return [this](bool confirm) -> Result<SecretBytes> {
      (confirm ? asked_to_confirm : asked_once)++;
      return SecretBytes::copy_of(as_bytes(text_));
    };
  }
  int asked_once = 0;
  int asked_to_confirm = 0;

 private:
  std::string text_;
};

PassphraseSource answering(const std::string& text) {
  return [text](bool) -> Result<SecretBytes> { return SecretBytes::copy_of(as_bytes(text)); };
}

/// The record of a keystore made with `text` at the least cost.
MasterKeyRecord cheap_record(const std::string& text) {
  const ByteVector salt = unhex(std::string(kCheap).substr(26));
  const auto key = scrypt(as_bytes(text), salt, {10, 8, 1});
  return LocalKms(kUri, kCheap, *key).describe();
}

KmsProvider passphrase_provider() {
  return {"Passphrase", [] {
            return KmsSetting{cheap_record("first"), cheap_record("second"), answering("first"),
                              answering("second"), nullptr};
          }};
}

INSTANTIATE_TEST_SUITE_P(Passphrase, MasterKmsContract, ::testing::Values(passphrase_provider()),
                         kms_provider_name);

TEST(Passphrase, ANewOneIsConfirmedAndRecorded) {
  Answers answers("correct horse battery staple");
  const auto master = create_master(kUri, answers.source());
  ASSERT_TRUE(master.ok()) << master.error().message();
  EXPECT_EQ(answers.asked_to_confirm, 1);
  EXPECT_EQ(answers.asked_once, 0);

  const MasterKeyRecord record = (*master)->describe();
  EXPECT_EQ(record.uri, kUri);
  EXPECT_EQ(record.params.substr(0, 26), "scrypt ln=17 r=8 p=1 salt=");
  EXPECT_EQ(record.params.size(), 26U + 32U);
  EXPECT_EQ(record.version.size(), 16U);

  const auto again = open_master(record, answers.source());
  ASSERT_TRUE(again.ok()) << again.error().message();
  EXPECT_EQ(answers.asked_once, 1);
  KeyContext context;
  const SecretBytes key = SecretBytes::random(32);
  const auto unwrapped = (*again)->unwrap(*(*master)->wrap(key, context), context);
  ASSERT_TRUE(unwrapped.ok());
  EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key.expose()));
}

TEST(Passphrase, SaltsDiffer) {
  const auto first = create_master(kUri, answering("same"));
  const auto second = create_master(kUri, answering("same"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->describe().params, (*second)->describe().params);
  EXPECT_NE((*first)->describe().version, (*second)->describe().version);
}

TEST(Passphrase, AnEmptyOneIsRefused) {
  Answers answers("");
  const auto master = create_master(kUri, answers.source());
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().code, Code::kInvalid);
}

TEST(Passphrase, AWrongOneIsSaidToBe) {
  const MasterKeyRecord record = cheap_record("right");
  EXPECT_TRUE(open_master(record, answering("right")).ok());
  for (const std::string text : {"wrong", "", "Right", "right ", "right\n"}) {
    const auto master = open_master(record, answering(text));
    ASSERT_FALSE(master.ok()) << text;
    EXPECT_EQ(master.error().code, Code::kWrongKey) << text;
  }
  EXPECT_FALSE(open_master(record, answering(std::string("right\0x", 7))).ok());
}

TEST(Passphrase, WhatTheSourceFailsWithComesThrough) {
  const PassphraseSource failing = [](bool) -> Result<SecretBytes> {
    return Error{Code::kKeyUnavailable, ENOTTY, "no terminal to ask at"};
  };
  for (const auto& master :
       {create_master(kUri, failing), open_master(cheap_record("x"), failing)}) {
    ASSERT_FALSE(master.ok());
    EXPECT_EQ(master.error().code, Code::kKeyUnavailable);
    EXPECT_EQ(master.error().errno_value, ENOTTY);
  }
}

TEST(Passphrase, IsDerivedAsTheFormatSays) {
  // By Python's hashlib and `cryptography` from keystore/FORMAT.md alone.
  const MasterKeyRecord record{kUri, "fd57d94fca9bfb01", kCheap};
  const auto master = open_master(record, answering("correct horse"));
  ASSERT_TRUE(master.ok()) << master.error().message();
  const auto key =
      (*master)->unwrap(unhex("01606162636465666768696a6bf7ead2d0b23f3238f62f1b5b2ca34a03cb381d4937"
                              "0895c12f13ece497fe8da5f69e088849ec1761d5c81cfd761a64e9"),
                        KeyContext());
  ASSERT_TRUE(key.ok()) << key.error().message();
  EXPECT_EQ(to_hex(key->expose()),
            "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f");
}

TEST(Passphrase, CostsOutOfBoundsAreRefusedBeforeAnyoneIsAsked) {
  // A hostile keystore must not exhaust the node, nor have a passphrase typed for it in vain.
  for (const char* cost : {"ln=21 r=8 p=1", "ln=99 r=8 p=1", "ln=9 r=8 p=1", "ln=0 r=8 p=1",
                           "ln=17 r=17 p=1", "ln=17 r=0 p=1", "ln=17 r=99 p=1", "ln=17 r=8 p=5",
                           "ln=17 r=8 p=0", "ln=20 r=16 p=99", "ln=16 r=1 p=1"}) {
    Answers answers("x");
    const std::string params =
        std::string("scrypt ") + cost + " salt=000102030405060708090a0b0c0d0e0f";
    const auto master = open_master({kUri, "0011223344556677", params}, answers.source());
    ASSERT_FALSE(master.ok()) << params;
    EXPECT_EQ(master.error().code, Code::kInvalid) << master.error().message();
    EXPECT_EQ(answers.asked_once + answers.asked_to_confirm, 0) << params;
  }
}

TEST(Passphrase, MalformedParametersAreRefusedBeforeAnyoneIsAsked) {
  const std::string good = kCheap;
  const std::string salt = good.substr(26);
  std::string with_nul = good + '\0';
  const std::string malformed[] = {
      "",
      "scrypt",
      "argon2 ln=10 r=8 p=1 salt=" + salt,
      "scrypt ln=10 r=8 p=1",
      "scrypt ln=10 r=8 p=1 salt=",
      good.substr(0, good.size() - 1),
      good.substr(0, good.size() - 2),
      good + "0",
      good + " ",
      good + "\n",
      " " + good,
      with_nul,
      "scrypt  ln=10 r=8 p=1 salt=" + salt,
      "scrypt ln=010 r=8 p=1 salt=" + salt,
      "scrypt ln=+10 r=8 p=1 salt=" + salt,
      "scrypt ln=-1 r=8 p=1 salt=" + salt,
      "scrypt ln= 10 r=8 p=1 salt=" + salt,
      "scrypt ln=0xa r=8 p=1 salt=" + salt,
      "scrypt ln=100 r=8 p=1 salt=" + salt,
      "scrypt ln=4294967306 r=8 p=1 salt=" + salt,
      "scrypt ln=10 p=1 r=8 salt=" + salt,
      "scrypt ln=10 r=8 p=1 salt=" + std::string(32, 'g'),
      "scrypt ln=10 r=8 p=1 salt=000102030405060708090A0B0C0D0E0F",
      "scrypt ln=10,r=8,p=1,salt=" + salt,
      std::string(100'000, 'x'),
  };
  for (const std::string& params : malformed) {
    Answers answers("x");
    const auto master = open_master({kUri, "0011223344556677", params}, answers.source());
    ASSERT_FALSE(master.ok()) << params;
    EXPECT_EQ(master.error().code, Code::kCorrupt) << params;
    EXPECT_EQ(answers.asked_once, 0) << params;
  }
}

TEST(Passphrase, AcceptsTheParametersThatTheFormatAllows) {
  const std::string salt = "000102030405060708090a0b0c0d0e0f";
  for (const char* cost : {"ln=10 r=1 p=1", "ln=11 r=16 p=4", "ln=10 r=8 p=4"}) {
    const auto master =
        open_master({kUri, "0011223344556677", std::string("scrypt ") + cost + " salt=" + salt},
                    answering("x"));
    ASSERT_FALSE(master.ok());
    EXPECT_EQ(master.error().code, Code::kWrongKey) << cost << ": " << master.error().message();
  }
}

}  // namespace
}  // namespace coffer
