#include "keystore/kms/bounded_kms.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/keystore_fake_kms.h"
#include "tests/support/threads.h"

namespace coffer {
namespace {

using namespace std::chrono_literals;
using testing::count_threads;
using testing::FakeKms;

class BoundedKmsTest : public ::testing::Test {
 protected:
  /// Late calls have threads of their own, which must not still be at it when the process exits.
  ~BoundedKmsTest() override {
    fake_->let_go();
    while (count_threads() > threads_before_) std::this_thread::sleep_for(1ms);
  }
  void wait_for_callers(std::size_t count) const {
    while (fake_->waiting() != count) std::this_thread::sleep_for(1ms);
  }

  const std::size_t threads_before_ = count_threads();
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

/// Wraps several keys by one call, and notes how many calls there were and how many at once.
class BatchKms final : public MasterKms {
 public:
  explicit BatchKms(std::size_t batch) : most_(batch), batch_(batch) {}
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    return fake_.wrap(key, context);
  }
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override {
    note(keys.size());
    if (refuses(keys.size())) return Error{Code::kUnsupported, 0, "no batches"};
    if (loses_some) return std::vector<ByteVector>(keys.size() - 1);
    return MasterKms::wrap_all(keys);
  }
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override {
    note(keys.size());
    if (refuses(keys.size())) return Error{Code::kUnsupported, 0, "no batches"};
    if (loses_some) return std::vector<SecretBytes>(keys.size() + 1);
    return MasterKms::unwrap_all(keys);
  }
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override {
    note(keys.size());
    if (loses_some) return std::vector<ByteVector>();
    return MasterKms::rewrap_all(keys);
  }
  [[nodiscard]] std::size_t batch_size() const override { return batch_; }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    return fake_.unwrap(wrapped, context);
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return fake_.describe(); }

  std::atomic<unsigned> calls = 0;
  std::atomic<unsigned> most_at_once = 0;
  std::atomic<bool> loses_some = false;
  std::atomic<bool> takes_batches = true;

 private:
  /// Which it finds only when it is asked for many.
  bool refuses(std::size_t keys) {
    if (takes_batches || keys == 1) return false;
    batch_ = 1;
    return true;
  }
  void note(std::size_t keys) {
    EXPECT_LE(keys, most_);
    ++calls;
    const unsigned now = ++under_way_;
    for (unsigned most = most_at_once;
         most < now && !most_at_once.compare_exchange_weak(most, now);)
      ;
    std::this_thread::sleep_for(1ms);
    --under_way_;
  }

  const std::size_t most_;
  std::atomic<std::size_t> batch_;
  std::atomic<unsigned> under_way_ = 0;
  FakeKms fake_;
};

class ManyKeys : public BoundedKmsTest {
 protected:
  ManyKeys() {
    for (std::uint32_t i = 0; i < 100; ++i) keys_.push_back(SecretBytes::random(32));
    for (std::uint32_t i = 0; i < 100; ++i) {
      placed_.push_back({&keys_[i], context_});
      placed_.back().context.version = KeyVersion{i};
    }
  }
  [[nodiscard]] std::vector<WrappedInPlace> in_place(const std::vector<ByteVector>& wrapped) const {
    std::vector<WrappedInPlace> placed;
    for (std::size_t i = 0; i < wrapped.size(); ++i)
      placed.push_back({wrapped[i], placed_[i].context});
    return placed;
  }
  void expect_in_order(MasterKms& master, const std::vector<ByteVector>& wrapped) const {
    ASSERT_EQ(wrapped.size(), placed_.size());
    for (std::size_t i = 0; i < wrapped.size(); ++i) {
      const auto key = master.unwrap(wrapped[i], placed_[i].context);
      ASSERT_TRUE(key.ok()) << i;
      EXPECT_TRUE(constant_time_equal(key->expose(), keys_[i].expose())) << i;
    }
  }

  std::vector<SecretBytes> keys_;
  std::vector<KeyInPlace> placed_;
};

TEST_F(ManyKeys, AreWrappedInTheirOrderByAsFewCallsAsCanBe) {
  for (const std::size_t batch : {1U, 7U, 100U, 1000U}) {
    const auto master = std::make_shared<BatchKms>(batch);
    BoundedKms bounded(master, 60s);
    const auto wrapped = bounded.wrap_all(placed_);
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    expect_in_order(bounded, *wrapped);
    EXPECT_EQ(master->calls, (100 + batch - 1) / batch);
    EXPECT_LE(master->most_at_once, 8U);
  }
  EXPECT_TRUE(BoundedKms(fake_, 60s).wrap_all({})->empty());
}

TEST_F(ManyKeys, AreUnwrappedAndWrappedAnewInTheirOrderByAsFewCallsAsCanBe) {
  for (const std::size_t batch : {1U, 7U, 100U, 1000U}) {
    const auto master = std::make_shared<BatchKms>(batch);
    BoundedKms bounded(master, 60s);
    const std::vector<ByteVector> wrapped = bounded.wrap_all(placed_).value();
    master->calls = 0;
    const auto fresh = bounded.rewrap_all(in_place(wrapped));
    ASSERT_TRUE(fresh.ok()) << fresh.error().message();
    EXPECT_EQ(master->calls, (100 + batch - 1) / batch);
    EXPECT_NE(*fresh, wrapped);
    expect_in_order(bounded, *fresh);
    master->calls = 0;
    const auto keys = bounded.unwrap_all(in_place(*fresh));
    ASSERT_TRUE(keys.ok()) << keys.error().message();
    EXPECT_EQ(master->calls, (100 + batch - 1) / batch);
    ASSERT_EQ(keys->size(), 100U);
    for (std::size_t i = 0; i < 100; ++i)
      EXPECT_TRUE(constant_time_equal((*keys)[i].expose(), keys_[i].expose())) << i;
    EXPECT_LE(master->most_at_once, 8U);
  }
  EXPECT_TRUE(BoundedKms(fake_, 60s).unwrap_all({})->empty());
  EXPECT_TRUE(BoundedKms(fake_, 60s).rewrap_all({})->empty());
}

TEST_F(ManyKeys, OneThatDoesNotUnwrapIsTheErrorOfAll) {
  const auto master = std::make_shared<BatchKms>(7);
  BoundedKms bounded(master, 60s);
  const std::vector<ByteVector> wrapped = bounded.wrap_all(placed_).value();
  auto keys = in_place(wrapped);
  keys[50].context.scope = ScopeId{9};
  EXPECT_EQ(bounded.unwrap_all(keys).error().code, Code::kCorrupt);
  EXPECT_EQ(bounded.rewrap_all(keys).error().code, Code::kCorrupt);
}

TEST_F(ManyKeys, SeveralCallsAreUnderWayAtOnce) {
  BoundedKms bounded(fake_, 60s);
  fake_->hold();
  std::thread wrapping([&] { expect_in_order(bounded, bounded.wrap_all(placed_).value()); });
  wait_for_callers(8);
  fake_->let_go();
  wrapping.join();
}

TEST_F(ManyKeys, OneErrorIsTheErrorOfAll) {
  fake_->fail_after(50);
  const auto wrapped = BoundedKms(fake_, 60s).wrap_all(placed_);
  ASSERT_FALSE(wrapped.ok());
  EXPECT_EQ(wrapped.error().code, Code::kKeyUnavailable);
  EXPECT_LE(fake_->wraps(), 50U + 8U);
}

TEST_F(ManyKeys, AnAnswerOfAnotherLengthIsNone) {
  const auto master = std::make_shared<BatchKms>(10);
  BoundedKms bounded(master, 60s);
  const std::vector<ByteVector> wrapped = bounded.wrap_all(placed_).value();
  master->loses_some = true;
  EXPECT_EQ(bounded.wrap_all(placed_).error().code, Code::kKmsUnavailable);
  EXPECT_EQ(bounded.unwrap_all(in_place(wrapped)).error().code, Code::kKmsUnavailable);
  EXPECT_EQ(bounded.rewrap_all(in_place(wrapped)).error().code, Code::kKmsUnavailable);
}

TEST_F(ManyKeys, AKmsThatTakesNoBatchesAfterAll) {
  const auto master = std::make_shared<BatchKms>(10);
  BoundedKms bounded(master, 60s);
  master->takes_batches = false;
  const std::vector<ByteVector> wrapped = bounded.wrap_all(placed_).value();
  expect_in_order(bounded, wrapped);
  EXPECT_EQ(master->batch_size(), 1U);
  const auto other = std::make_shared<BatchKms>(10);
  other->takes_batches = false;
  EXPECT_EQ(BoundedKms(other, 60s).unwrap_all(in_place(wrapped)).error().code, Code::kCorrupt)
      << "another's";
}

TEST_F(ManyKeys, NobodyWaitsForThemWithoutEnd) {
  fake_->hold();
  EXPECT_EQ(BoundedKms(fake_, 20ms).wrap_all(placed_).error().code, Code::kKmsUnavailable);
  fake_->let_go();
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
