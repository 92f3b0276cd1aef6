#include "keystore/kms/patient_kms.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/keystore_fake_kms.h"

namespace coffer {
namespace {

using namespace std::chrono_literals;
using testing::FakeKms;

/// Fails a number of times, then answers.
class LateKms final : public MasterKms {
 public:
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    if (++calls <= failures) return Error{code, 0, "as told"};
    return fake_.wrap(key, context);
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    if (++calls <= failures) return Error{code, 0, "as told"};
    return fake_.unwrap(wrapped, context);
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return fake_.describe(); }

  std::atomic<unsigned> calls = 0;
  std::atomic<unsigned> failures = 0;
  std::atomic<Code> code = Code::kKmsUnavailable;

 private:
  FakeKms fake_;
};

class PatientKmsTest : public ::testing::Test {
 protected:
  static constexpr PatientKms::Patience kQuick = {
      .total = 60s, .first_pause = 1ms, .longest_pause = 2ms, .hold_off = 60s};

  const std::shared_ptr<LateKms> late_ = std::make_shared<LateKms>();
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(PatientKmsTest, TriesAgainUntilThereIsAnAnswer) {
  PatientKms patient(late_, kQuick);
  late_->failures = 5;
  const auto wrapped = patient.wrap(key_, context_);
  ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
  EXPECT_EQ(late_->calls, 6U);
  late_->failures = 9;
  const auto unwrapped = patient.unwrap(*wrapped, context_);
  ASSERT_TRUE(unwrapped.ok());
  EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key_.expose()));
  EXPECT_EQ(late_->calls, 10U);
  const std::vector<WrappedInPlace> both = {{*wrapped, context_}, {*wrapped, context_}};
  late_->calls = 0;
  late_->failures = 3;
  ASSERT_TRUE(patient.unwrap_all(both).ok());
  EXPECT_EQ(late_->calls, 5U) << "two that were answered";
  late_->calls = 0;
  ASSERT_TRUE(patient.rewrap_all(both).ok());
  EXPECT_EQ(late_->calls, 7U) << "two of each kind";
  EXPECT_EQ(patient.describe().version, late_->describe().version);
}

TEST_F(PatientKmsTest, AsksOnceWhereTryingAgainDoesNotHelp) {
  PatientKms patient(late_, kQuick);
  late_->failures = 1000;
  for (int number = 0; to_string(static_cast<Code>(number)) != "unknown"; ++number) {
    const auto code = static_cast<Code>(number);
    if (code == Code::kKmsUnavailable) continue;
    late_->calls = 0;
    late_->code = code;
    EXPECT_EQ(patient.wrap(key_, context_).error().code, code);
    EXPECT_EQ(late_->calls, 1U) << to_string(code);
  }
}

TEST_F(PatientKmsTest, GivesUpWithTheLastError) {
  PatientKms patient(late_,
                     {.total = 30ms, .first_pause = 8ms, .longest_pause = 8ms, .hold_off = 60s});
  late_->failures = 1000;
  const auto wrapped = patient.wrap(key_, context_);
  ASSERT_FALSE(wrapped.ok());
  EXPECT_EQ(wrapped.error().code, Code::kKmsUnavailable);
  EXPECT_EQ(wrapped.error().context, "as told");
  // Pauses of at least 4 ms.
  EXPECT_GE(late_->calls, 1U);
  EXPECT_LE(late_->calls, 8U);
}

TEST_F(PatientKmsTest, OnceItGaveUpNobodyWaitsForAWhile) {
  PatientKms patient(late_,
                     {.total = 0ms, .first_pause = 1ms, .longest_pause = 1ms, .hold_off = 60s});
  late_->failures = 1;
  EXPECT_FALSE(patient.wrap(key_, context_).ok());
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(patient.unwrap({}, context_).error().code, Code::kKmsUnavailable);
  }
  EXPECT_EQ(late_->calls, 1U);
}

TEST_F(PatientKmsTest, AndAsksAgainAfterIt) {
  PatientKms patient(late_,
                     {.total = 0ms, .first_pause = 1ms, .longest_pause = 1ms, .hold_off = 5ms});
  late_->failures = 1;
  EXPECT_FALSE(patient.wrap(key_, context_).ok());
  std::this_thread::sleep_for(6ms);
  EXPECT_TRUE(patient.wrap(key_, context_).ok());
  EXPECT_EQ(late_->calls, 2U);
}

}  // namespace
}  // namespace coffer
