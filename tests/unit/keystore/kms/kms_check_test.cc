#include "keystore/kms/kms_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/keystore_fake_kms.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::FakeKms;
using testing::TempDir;

Result<SecretBytes> nobody_asks(bool) {
  ADD_FAILURE() << "asked for a passphrase";
  return Error{Code::kKeyUnavailable, 0, "none"};
}

/// "ok", or the code of what failed, of each check.
std::vector<std::string> outcomes(const KmsReport& report) {
  std::vector<std::string> all;
  for (const KmsCheck& check : report.checks)
    all.emplace_back(check.error ? to_string(check.error->code) : "ok");
  return all;
}

using Outcomes = std::vector<std::string>;

class KmsCheckTest : public ::testing::Test {
 protected:
  KmsCheckTest() { store_.bytes.fill(7); }

  KmsTrial trial_of(MasterKms& master) const {
    auto wrapped = master.wrap(SecretBytes::random(32), KeyContext::of_policy_key(store_));
    return {.record = master.describe(), .store = store_, .policy_key = *std::move(wrapped)};
  }
  static KmsReport report_of(MasterKms& master, const KmsTrial& trial) {
    KmsReport report;
    check_opened_master(master, trial, report);
    return report;
  }

  StoreId store_;
  TempDir dir_;
};

TEST_F(KmsCheckTest, AllIsWell) {
  const auto master = create_master("local:" + dir_.file("key"), nobody_asks);
  ASSERT_TRUE(master.ok());
  const KmsTrial trial = trial_of(**master);
  EXPECT_EQ(outcomes(check_master(trial, nobody_asks)),
            (Outcomes{"ok", "ok", "ok", "ok", "ok", "ok"}));
}

TEST_F(KmsCheckTest, AMasterKeyThatIsNotThere) {
  const auto master = create_master("local:" + dir_.file("key"), nobody_asks);
  ASSERT_TRUE(master.ok());
  const KmsTrial trial = trial_of(**master);
  ASSERT_EQ(::unlink(dir_.file("key").c_str()), 0);
  EXPECT_EQ(outcomes(check_master(trial, nobody_asks)), (Outcomes{"key-unavailable"}));
}

TEST_F(KmsCheckTest, AKeystoreOfAnotherMasterKey) {
  FakeKms master;
  FakeKms other;
  EXPECT_EQ(outcomes(report_of(master, trial_of(other))), (Outcomes{"corrupt", "ok", "ok", "ok"}));
}

/// May do one thing and not the other, as a KMS's policy may have it.
class LimitedKms final : public MasterKms {
 public:
  LimitedKms(FakeKms& master, bool wraps, bool unwraps)
      : master_(master), wraps_(wraps), unwraps_(unwraps) {}
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    if (!wraps_) return Error{Code::kKmsDenied, 0, "may not wrap"};
    return master_.wrap(key, context);
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    if (!unwraps_) return Error{Code::kKmsDenied, 0, "may not unwrap"};
    return master_.unwrap(wrapped, context);
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return master_.describe(); }
  Result<std::vector<KmsFact>> inspect() override {
    return std::vector<KmsFact>{{"identity", "node 7"}};
  }

 private:
  FakeKms& master_;
  const bool wraps_;
  const bool unwraps_;
};

TEST_F(KmsCheckTest, RightsThatAreMissingAreNamedOneByOne) {
  FakeKms master;
  const KmsTrial trial = trial_of(master);
  LimitedKms reads(master, false, true);
  const KmsReport report = report_of(reads, trial);
  EXPECT_EQ(outcomes(report), (Outcomes{"ok", "ok", "kms-denied"}));
  ASSERT_EQ(report.facts.size(), 1U);
  EXPECT_EQ(report.facts[0].value, "node 7");
  LimitedKms writes(master, true, false);
  EXPECT_EQ(outcomes(report_of(writes, trial)),
            (Outcomes{"kms-denied", "ok", "kms-denied", "kms-denied"}));
  // A node that only reads need not wrap.
  KmsTrial of_reader = trial;
  of_reader.may_wrap = false;
  EXPECT_EQ(outcomes(report_of(reads, of_reader)), (Outcomes{"ok", "ok"}));
}

/// Ignores where a key belongs, in one respect.
class LooseKms final : public MasterKms {
 public:
  using Loosen = void (*)(KeyContext&);
  explicit LooseKms(Loosen loosen) : loosen_(loosen) {}
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    return master_.wrap(key, loosened(context));
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    return master_.unwrap(wrapped, loosened(context));
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return master_.describe(); }

 private:
  [[nodiscard]] KeyContext loosened(KeyContext context) const {
    loosen_(context);
    return context;
  }
  FakeKms master_;
  const Loosen loosen_;
};

TEST_F(KmsCheckTest, AKmsThatDoesNotBindAKeyToItsPlaceIsFound) {
  const std::vector<LooseKms::Loosen> ways = {
      [](KeyContext& context) { context.store = {}; },
      [](KeyContext& context) { context.scope = {}; },
      [](KeyContext& context) { context.version = {}; },
      [](KeyContext& context) { context.purpose = KeyContext::Purpose::kDek; },
  };
  for (const LooseKms::Loosen way : ways) {
    LooseKms master(way);
    const KmsReport report = report_of(master, trial_of(master));
    EXPECT_EQ(outcomes(report), (Outcomes{"ok", "unsupported", "ok", "ok", "unsupported"}));
  }
}

}  // namespace
}  // namespace coffer
