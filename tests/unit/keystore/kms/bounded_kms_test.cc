#include "keystore/kms/bounded_kms.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <thread>

#include "tests/support/keystore_fake_kms.h"

namespace coffer {
namespace {

using namespace std::chrono_literals;
using testing::FakeKms;

/// Those of this process, and with the one that a sanitizer begins beside the first.
std::size_t threads() {
  std::thread([] {}).join();
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

class BoundedKmsTest : public ::testing::Test {
 protected:
  /// Late calls have threads of their own, which must not still be at it when the process exits.
  ~BoundedKmsTest() override {
    fake_->let_go();
    while (threads() > threads_before_) std::this_thread::sleep_for(1ms);
  }
  void wait_for_callers(std::size_t count) const {
    while (fake_->waiting() != count) std::this_thread::sleep_for(1ms);
  }

  const std::size_t threads_before_ = threads();
  const std::shared_ptr<FakeKms> fake_ = std::make_shared<FakeKms>();
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(BoundedKmsTest, GivesWhatTheMasterKeyGives) {
  BoundedKms bounded(fake_, 60s);
  const auto wrapped = bounded.wrap(key_, context_);
  ASSERT_TRUE(wrapped.ok());
  const auto unwrapped = bounded.unwrap(*wrapped, context_);
  ASSERT_TRUE(unwrapped.ok());
  EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key_.expose()));
  EXPECT_EQ(bounded.describe().version, fake_->describe().version);
  EXPECT_EQ(bounded.unwrap({}, context_).error().code, fake_->unwrap({}, context_).error().code);
  fake_->fail_with(Error{Code::kDenied, 0, "no"});
  EXPECT_EQ(bounded.wrap(key_, context_).error().code, Code::kDenied);
}

TEST_F(BoundedKmsTest, AnswersInTimeThoughNobodyAnswersIt) {
  BoundedKms bounded(fake_, 20ms);
  fake_->hold();
  const auto wrapped = bounded.wrap(key_, context_);
  ASSERT_FALSE(wrapped.ok());
  EXPECT_EQ(wrapped.error().code, Code::kKmsUnavailable);
  EXPECT_NE(wrapped.error().message().find("20 ms"), std::string::npos);
  fake_->let_go();
  EXPECT_TRUE(BoundedKms(fake_, 60s).wrap(key_, context_).ok());
}

TEST_F(BoundedKmsTest, BeginsNoMoreWhileSomeAreLate) {
  BoundedKms bounded(fake_, 1ms);
  fake_->hold();
  for (int call = 0; call < 20; ++call) EXPECT_FALSE(bounded.wrap(key_, context_).ok());
  wait_for_callers(4);
  fake_->let_go();
  // As soon as they have ended.
  while (!bounded.wrap(key_, context_).ok()) std::this_thread::sleep_for(1ms);
}

TEST_F(BoundedKmsTest, OutlivesNoCall) {
  fake_->hold();
  EXPECT_FALSE(BoundedKms(fake_, 1ms).wrap(key_, context_).ok());
  wait_for_callers(1);
  fake_->let_go();
  wait_for_callers(0);
}

TEST_F(BoundedKmsTest, AnExceptionIsAnError) {
  BoundedKms bounded(fake_, 60s);
  fake_->run_out_of_memory(true);
  const auto wrapped = bounded.wrap(key_, context_);
  ASSERT_FALSE(wrapped.ok());
  EXPECT_EQ(wrapped.error().code, Code::kExhausted);
}

}  // namespace
}  // namespace coffer
