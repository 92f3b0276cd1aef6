// The TPM 2.0 provider on swtpm.

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "keystore/kms/master_kms.h"
#include "keystore/kms/tpm2_record.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/soft_tpm.h"

namespace coffer {
namespace {

using testing::SoftTpm;

PassphraseSource pin(const char* text) {
  return [text](bool) -> Result<SecretBytes> { return SecretBytes::copy_of(as_bytes(text)); };
}

std::unique_ptr<MasterKms> make(const std::string& uri, const PassphraseSource& source) {
  auto master = create_master(uri, source);
  if (!master) throw std::runtime_error(master.error().message());
  return *std::move(master);
}

KmsProvider soft_tpm_provider() {
  return {"SoftTpm",
          [] {
            const auto tpm = std::make_shared<SoftTpm>();
            return KmsSetting{make("tpm2:", no_passphrase)->describe(),
                              make("tpm2:pcrs=sha256:7+11;pin", pin("1234"))->describe(),
                              no_passphrase, pin("1234"), tpm};
          },
          testing::have_soft_tpm};
}

INSTANTIATE_TEST_SUITE_P(SoftTpm, MasterKmsContract, ::testing::Values(soft_tpm_provider()),
                         kms_provider_name);

class Tpm2 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_soft_tpm()) COFFER_SKIP("no swtpm or tpm2-tools");
    tpm_.emplace();
  }
  void TearDown() override {
    if (tpm_ && runs_) {
      EXPECT_EQ(tpm_->handles(), 0U) << "something was left on the TPM";
    }
  }
  static std::string outcome_of(const MasterKeyRecord& record,
                                const PassphraseSource& source = no_passphrase) {
    const auto master = open_master(record, source);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  static std::string words_of(const MasterKeyRecord& record,
                              const PassphraseSource& source = no_passphrase) {
    const auto master = open_master(record, source);
    return master ? "ok" : master.error().message();
  }
  static std::string outcome_of_creating(const std::string& uri,
                                         const PassphraseSource& source = no_passphrase) {
    const auto master = create_master(uri, source);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  unsigned wrong_pins_so_far() const {
    const std::string said =
        tpm_->tool("tpm2_getcap properties-variable | grep TPM2_PT_LOCKOUT_COUNTER");
    return static_cast<unsigned>(std::stoul(said.substr(said.find("0x")), nullptr, 16));
  }

  std::optional<SoftTpm> tpm_;
  bool runs_ = true;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(Tpm2, IsSealedToTheStateOfTheMachine) {
  const MasterKeyRecord record = make("tpm2:pcrs=sha256:7+11", no_passphrase)->describe();
  EXPECT_EQ(record.uri, "tpm2:pcrs=sha256:7+11");
  EXPECT_EQ(record.version.size(), 16U);
  tpm_->extend(10);
  EXPECT_EQ(outcome_of(record), "ok") << "a PCR that was not named";
  tpm_->extend(11);
  EXPECT_EQ(outcome_of(record), "kms-denied");
  EXPECT_NE(words_of(record).find("started differently"), std::string::npos) << words_of(record);
  tpm_->restart();
  EXPECT_EQ(outcome_of(record), "ok") << "started as before";
}

TEST_F(Tpm2, ByDefaultTheStateOfSecureBoot) {
  const MasterKeyRecord record = make("tpm2:", no_passphrase)->describe();
  EXPECT_EQ(record.uri, "tpm2:pcrs=sha256:7");
  tpm_->extend(0);
  EXPECT_EQ(outcome_of(record), "ok");
  tpm_->extend(7);
  EXPECT_EQ(outcome_of(record), "kms-denied");
}

TEST_F(Tpm2, WithoutPcrsToTheTpmAlone) {
  const MasterKeyRecord record = make("tpm2:pcrs=none", no_passphrase)->describe();
  for (const unsigned pcr : {0U, 7U, 11U}) tpm_->extend(pcr);
  EXPECT_EQ(outcome_of(record), "ok");
  SoftTpm other;
  EXPECT_EQ(outcome_of(record), "kms-key-missing");
  tpm_->use();
  EXPECT_EQ(outcome_of(record), "ok");
  tpm_->tool("tpm2_clear");
  EXPECT_EQ(outcome_of(record), "kms-key-missing");
}

/// It would take them for none.
TEST_F(Tpm2, PcrsThatTheTpmLacksAreRefused) {
  tpm_->tool("tpm2_pcrallocate sha256:all+sha384:none+sha512:1,2,3");
  tpm_->restart();
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha384:7"), "invalid");
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha256:7"), "ok");
}

TEST_F(Tpm2, PcrsThatMeasureNothingAreRefused) {
  const auto refused = create_master("tpm2:pcrs=sha256:12", no_passphrase);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message().find("pcrs=none"), std::string::npos);
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha256:12+17+22"), "invalid") << "zeros and ones";
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha256:1+2+3+4+5+6+8+9+10+12+13"), "invalid")
      << "more than are read at once";
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha256:1+2+3+4+5+6+8+9+10+11"), "ok");
  EXPECT_EQ(outcome_of_creating("tpm2:pcrs=sha256:7+12"), "ok");
}

TEST_F(Tpm2, ThePinIsAskedForAndTriedOnce) {
  unsigned confirmed = 0;
  const auto new_pin = [&confirmed](bool confirm) -> Result<SecretBytes> {
    confirmed += confirm;
    return SecretBytes::copy_of(as_bytes("1234"));
  };
  const MasterKeyRecord record = make("tpm2:pin", new_pin)->describe();
  EXPECT_EQ(confirmed, 1U);
  EXPECT_EQ(outcome_of(record, new_pin), "ok");
  EXPECT_EQ(confirmed, 1U) << "it is a new one once";
  EXPECT_EQ(wrong_pins_so_far(), 0U);
  EXPECT_EQ(outcome_of(record, pin("4321")), "wrong-key");
  EXPECT_EQ(wrong_pins_so_far(), 1U);
  EXPECT_EQ(outcome_of(record, pin("12345")), "wrong-key");
  EXPECT_EQ(wrong_pins_so_far(), 2U);
  EXPECT_EQ(outcome_of(record, pin("1234")), "ok");
  EXPECT_EQ(outcome_of(record, pin("")), "invalid");
  EXPECT_EQ(wrong_pins_so_far(), 2U);
}

TEST_F(Tpm2, APinIsNotTriedOnAMachineThatStartedDifferently) {
  const MasterKeyRecord record = make("tpm2:pin", pin("1234"))->describe();
  tpm_->extend(7);
  EXPECT_EQ(outcome_of(record, pin("4321")), "kms-denied");
  EXPECT_EQ(wrong_pins_so_far(), 0U);
}

TEST_F(Tpm2, TooManyWrongPinsLockIt) {
  const MasterKeyRecord with_pin = make("tpm2:pin", pin("1234"))->describe();
  const MasterKeyRecord without = make("tpm2:", no_passphrase)->describe();
  for (unsigned attempt = 0; attempt < 3; ++attempt)
    EXPECT_EQ(outcome_of(with_pin, pin("4321")), "wrong-key") << attempt;
  EXPECT_EQ(outcome_of(with_pin, pin("1234")), "kms-denied");
  const std::string words = words_of(with_pin, pin("1234"));
  EXPECT_NE(words.find("dictionarylockout"), std::string::npos) << words;
  EXPECT_EQ(outcome_of(without), "ok") << "there is no PIN to guess";
  tpm_->tool("tpm2_dictionarylockout --clear-lockout");
  EXPECT_EQ(outcome_of(with_pin, pin("1234")), "ok");
}

TEST_F(Tpm2, ThePinComesFromAFile) {
  const std::string path = tpm_->pin_file("1234\n");
  const MasterKeyRecord record = make("tpm2:pin-source=" + path, no_passphrase)->describe();
  EXPECT_EQ(record.uri, "tpm2:pcrs=sha256:7;pin-source=" + path);
  EXPECT_EQ(outcome_of(record), "ok");
  tpm_->pin_file("4321\n");
  EXPECT_EQ(outcome_of(record), "wrong-key");
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(outcome_of(record), "key-unavailable");
  EXPECT_EQ(outcome_of_creating("tpm2:pin-source=" + path), "key-unavailable");
}

TEST_F(Tpm2, WithoutATpmNothingIsMade) {
  tpm_->stop();
  runs_ = false;
  EXPECT_EQ(outcome_of_creating("tpm2:"), "kms-unavailable");
}

TEST_F(Tpm2, ItTellsOfItself) {
  const auto master = make("tpm2:pin", pin("1234"));
  EXPECT_EQ(outcome_of(master->describe(), pin("4321")), "wrong-key");
  const auto facts = master->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  std::string all;
  for (const KmsFact& fact : *facts) all += fact.name + "=" + fact.value + "\n";
  EXPECT_NE(all.find("made by=IBM\n"), std::string::npos) << all;
  EXPECT_NE(all.find("PCRs=sha256:7\nPIN=yes\nwrong PINs=1 of 3\n"), std::string::npos) << all;
  tpm_->stop();
  runs_ = false;
  EXPECT_EQ(master->inspect().error().code, Code::kKmsUnavailable);
}

TEST_F(Tpm2, AnUnknownWayToTheTpm) {
  const MasterKeyRecord record = make("tpm2:", no_passphrase)->describe();
  for (const char* const way :
       {"nonsense", "swtpm:path=/nowhere", "device:/nowhere", "device:/dev/null"}) {
    ::setenv("COFFER_TPM2_TCTI", way, 1);
    EXPECT_EQ(outcome_of(record), "kms-unavailable") << way;
  }
}

TEST_F(Tpm2, APasswordOfTheOwnersIsSaid) {
  tpm_->tool("tpm2_changeauth -c owner secret");
  EXPECT_EQ(outcome_of_creating("tpm2:"), "kms-denied");
}

TEST_F(Tpm2, AnotherKeyInItsPlaceIsNoticed) {
  MasterKeyRecord record = make("tpm2:", no_passphrase)->describe();
  record.params = make("tpm2:", no_passphrase)->describe().params;
  EXPECT_EQ(outcome_of(record), "wrong-key");
}

TEST_F(Tpm2, AUriThatWasAltered) {
  MasterKeyRecord record = make("tpm2:pcrs=sha256:7+11", no_passphrase)->describe();
  for (const char* const uri : {"tpm2:", "tpm2:pcrs=none", "tpm2:pcrs=sha384:7+11"}) {
    record.uri = uri;
    EXPECT_EQ(outcome_of(record), "kms-denied") << uri;
  }
  record.uri = "tpm2:pcrs=sha256:7+11;pin";
  EXPECT_EQ(outcome_of(record, pin("1234")), "wrong-key");
}

TEST_F(Tpm2, WhatWasSealedCantBeAltered) {
  const MasterKeyRecord record = make("tpm2:", no_passphrase)->describe();
  const Tpm2Sealed sealed = *Tpm2Sealed::parse(record.params);
  const auto with = [&](const Tpm2Sealed& altered) {
    return outcome_of({record.uri, record.version, altered.text()});
  };
  ASSERT_EQ(with(sealed), "ok");
  for (auto part : {&Tpm2Sealed::public_area, &Tpm2Sealed::private_area}) {
    for (std::size_t at = 0; at < (sealed.*part).size(); ++at) {
      Tpm2Sealed altered = sealed;
      (altered.*part)[at] ^= static_cast<std::uint8_t>(1U << at % 8);
      EXPECT_EQ(with(altered), "corrupt") << "byte " << at;
    }
    for (const std::size_t length : {1U, 2U, 3U, 40U}) {
      Tpm2Sealed altered = sealed;
      (altered.*part).resize(length);
      EXPECT_EQ(with(altered), "corrupt") << length;
      (altered.*part).assign(1024, 0xff);
      EXPECT_EQ(with(altered), "corrupt");
    }
    Tpm2Sealed altered = sealed;
    (altered.*part).push_back(0);
    EXPECT_EQ(with(altered), "corrupt");
  }
  for (std::size_t at = 0; at < sealed.storage_key.size(); ++at) {
    Tpm2Sealed altered = sealed;
    altered.storage_key[at] ^= 1;
    EXPECT_EQ(with(altered), "kms-key-missing") << at;
  }
}

TEST_F(Tpm2, MalformedParametersAreRefusedBeforeTheTpmIsAsked) {
  const MasterKeyRecord record = make("tpm2:pin", pin("1234"))->describe();
  for (const char* const params : {"", "tpm2", "tpm2 v=1", "scrypt ln=17 r=8 p=1 salt=00"})
    EXPECT_EQ(outcome_of({record.uri, record.version, params}), "corrupt") << params;
  EXPECT_EQ(outcome_of({record.uri, record.version, "tpm2 v=2 new"}), "unknown-version");
  EXPECT_EQ(outcome_of({"tpm2:pcrs=all", record.version, record.params}), "invalid");
}

}  // namespace
}  // namespace coffer
