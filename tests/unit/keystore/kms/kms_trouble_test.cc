// Every provider in every trouble: what is said of it, and that it passes.

#include "tests/unit/keystore/kms/kms_trouble.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ostream>
#include <sstream>
#include <thread>

#include "keystore/kms/bounded_kms.h"
#include "keystore/kms/call_bound.h"
#include "keystore/kms/patient_kms.h"
#include "keystore/kms/secret_text.h"
#include "tests/support/temp_dir.h"
#include "tests/support/threads.h"
#include "tests/unit/keystore/kms/kms_trouble_kinds.h"

namespace coffer {
namespace {

/// For calls that are not answered; those that are have to end in it, on a busy machine, too.
constexpr std::chrono::milliseconds kShort{700};

using namespace std::chrono_literals;

struct Trial {
  KmsInTrouble provider;
  TroubleKind kind;

  [[nodiscard]] const KmsCause& cause() const { return provider.troubles.*kind.cause; }
  [[nodiscard]] KmsOutcome expected(KmsCall call) const {
    if (const auto found = cause().otherwise().find(call); found != cause().otherwise().end())
      return found->second;
    if (std::ranges::find(provider.asks_nobody, call) != provider.asks_nobody.end()) return {};
    const bool looks = call == KmsCall::kNewest || call == KmsCall::kInspect;
    if (kind.reach == TroubleKind::kOpening && call != KmsCall::kOpen) return {};
    if (kind.reach == TroubleKind::kUses && looks) return {};
    return kind.outcome;
  }
};

void PrintTo(const Trial& trial, std::ostream* out) {
  *out << trial.provider.name << trial.kind.name;
}

std::vector<Trial> trials() {
  std::vector<Trial> all;
  for (const auto make : kProvidersInTrouble) {
    for (const TroubleKind& kind : kTroubles) {
      if (Trial trial{make(), kind}; trial.cause().is_there()) all.push_back(std::move(trial));
    }
  }
  return all;
}

/// Counts what gets through to a master key.
class Counted final : public MasterKms {
 public:
  Counted(std::shared_ptr<MasterKms> master, std::function<void(unsigned)> before)
      : master_(std::move(master)), before_(std::move(before)) {}
  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override {
    before_(++calls);
    return master_->wrap(key, context);
  }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override {
    before_(++calls);
    return master_->unwrap(wrapped, context);
  }
  [[nodiscard]] MasterKeyRecord describe() const override { return master_->describe(); }

  std::atomic<unsigned> calls = 0;

 private:
  const std::shared_ptr<MasterKms> master_;
  const std::function<void(unsigned)> before_;
};

class KmsTrouble : public ::testing::TestWithParam<Trial> {
 protected:
  void SetUp() override {
    const KmsInTrouble& provider = GetParam().provider;
    if (!provider.is_there()) COFFER_SKIP("what " + provider.name + " is tried with");
    place_ = provider.set_up();
    auto master = place_->open();
    ASSERT_TRUE(master.ok()) << master.error().message();
    alone_ = *std::move(master);
    context_.store.bytes.fill(0xa1);
    context_.scope = ScopeId{2};
    auto wrapped = alone_->wrap(key_, context_);
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    wrapped_ = *std::move(wrapped);
    threads_ = testing::count_threads();
  }
  void TearDown() override {
    // Calls that nobody waits for any more still use the place.
    if (alone_ != nullptr) wait_for_late_calls();
  }

  /// One that would take as long as a call may is cut short by what does so outside of here.
  [[nodiscard]] bool is_slow() const {
    return GetParam().kind.cause == &KmsTroubles::hangs ||
           GetParam().kind.cause == &KmsTroubles::drips;
  }
  [[nodiscard]] std::shared_ptr<MasterKms> bounded(const std::shared_ptr<MasterKms>& master) const {
    return std::make_shared<BoundedKms>(master, is_slow() ? kShort : 60s);
  }
  [[nodiscard]] std::shared_ptr<MasterKms> master() const {
    return is_slow() ? bounded(alone_) : alone_;
  }
  void begin() { GetParam().cause().begin(*place_); }
  void end() {
    GetParam().cause().end(*place_);
    wait_for_late_calls();
  }
  void wait_for_late_calls() const {
    while (testing::count_threads() > threads_) std::this_thread::yield();
  }

  Result<void> keep_wrapped(Result<ByteVector> wrapped) {
    made_.push_back(TRY(std::move(wrapped)));
    return {};
  }
  [[nodiscard]] Result<void> check_key(const Result<SecretBytes>& key) const {
    if (!key) return key.error();
    EXPECT_TRUE(constant_time_equal(key->expose(), key_.expose())) << "another key";
    return {};
  }
  Result<void> open_anew() {
    const CallBound bound(is_slow() ? kShort : 60s);
    const auto opened = bound.run<std::unique_ptr<MasterKms>>(
        "opening", [place = place_] { return place->open(); });
    if (!opened) return opened.error();
    return {};
  }
  Result<void> make_call(MasterKms& master, KmsCall call);
  void expect(MasterKms& master, KmsCall call, const KmsOutcome& outcome);
  void expect_silence(const std::string& words) const;
  void expect_all_is_well(MasterKms& master);
  void expect_damage_is_none_of_it();

  std::shared_ptr<KmsPlace> place_;
  std::shared_ptr<MasterKms> alone_;
  /// Of letters, so that it would stand in words as it is.
  const SecretBytes key_ = SecretBytes::copy_of(as_bytes(to_hex(SecretBytes::random(16).expose())));
  KeyContext context_;
  ByteVector wrapped_;
  std::vector<ByteVector> made_;  ///< what was wrapped while there was trouble
  std::size_t threads_ = 0;
};

Result<void> KmsTrouble::make_call(MasterKms& master, KmsCall call) {
  const std::vector<KeyInPlace> keys(2, {&key_, context_});
  const std::vector<WrappedInPlace> sealed(2, {wrapped_, context_});
  switch (call) {
    case KmsCall::kOpen:
      return open_anew();
    case KmsCall::kWrap:
      return keep_wrapped(master.wrap(key_, context_));
    case KmsCall::kWrapAll:
      for (ByteVector& each : TRY(master.wrap_all(keys))) made_.push_back(std::move(each));
      return {};
    case KmsCall::kUnwrap:
      return check_key(master.unwrap(wrapped_, context_));
    case KmsCall::kUnwrapAll:
      for (SecretBytes& each : TRY(master.unwrap_all(sealed)))
        TRY(check_key(Result<SecretBytes>(std::move(each))));
      return {};
    case KmsCall::kRewrap:
      return keep_wrapped(master.rewrap(wrapped_, context_));
    case KmsCall::kNewest:
      TRY(master.newest_version());
      return {};
    case KmsCall::kInspect:
      TRY(master.inspect());
      return {};
  }
  return {};
}

/// Neither the key nor what we are known by.
void KmsTrouble::expect_silence(const std::string& words) const {
  std::vector<std::string> secrets = place_->secrets();
  // As it is, in base64 and in hex; of each a part gives it away.
  const Bytes key = key_.expose();
  secrets.emplace_back(as_text(key.first(12)));
  secrets.emplace_back(as_text(to_secret_base64(key.first(12)).expose()));
  secrets.push_back(to_hex(key.first(12)));
  for (const std::string& secret : secrets) {
    ASSERT_FALSE(secret.empty());
    EXPECT_EQ(words.find(secret), std::string::npos) << words;
  }
}

void KmsTrouble::expect(MasterKms& master, KmsCall call, const KmsOutcome& outcome) {
  std::ostringstream name;
  name << call;
  SCOPED_TRACE(name.str());
  const auto done = make_call(master, call);
  if (done.ok()) {
    EXPECT_FALSE(outcome) << "and not " << to_string(*outcome);
    return;
  }
  const std::string words = done.error().message();
  EXPECT_EQ(to_string(done.error().code), outcome ? to_string(*outcome) : "ok") << words;
  expect_silence(words);
}

void KmsTrouble::expect_all_is_well(MasterKms& master) {
  SCOPED_TRACE("afterwards");
  for (const KmsCall call : kKmsCalls) expect(master, call, {});
  // Where another key stood, they are that one's.
  if (GetParam().kind.cause == &KmsTroubles::another_key) made_.clear();
  for (const ByteVector& each : made_) {
    const auto done = check_key(alone_->unwrap(each, context_));
    EXPECT_TRUE(done.ok()) << done.error().message();
  }
}

/// What is wrong with the wrapped key is not waited for.
void KmsTrouble::expect_damage_is_none_of_it() {
  const auto counted = std::make_shared<Counted>(alone_, [](unsigned) {});
  BoundedKms around(std::make_shared<PatientKms>(counted, PatientKms::Patience{}), 60s);
  ByteVector altered = wrapped_;
  altered.back() ^= 1;
  KeyContext elsewhere = context_;
  elsewhere.scope = ScopeId{3};
  for (const auto& key : {around.unwrap(altered, context_), around.unwrap(wrapped_, elsewhere)}) {
    ASSERT_FALSE(key.ok());
    EXPECT_EQ(key.error().code, Code::kCorrupt) << key.error().message();
    expect_silence(key.error().message());
  }
  EXPECT_EQ(counted->calls, 2U);
}

TEST_P(KmsTrouble, IsCalledByItsNameAndPasses) {
  if (GetParam().kind.outcome) begin();
  for (const KmsCall call : kKmsCalls) {
    // What is recovered from has to happen to each.
    if (!GetParam().kind.outcome) begin();
    // Calls that are late keep others from being begun.
    const auto asked = master();
    expect(*asked, call, GetParam().expected(call));
  }
  end();
  expect_all_is_well(*alone_);
}

/// As it stands behind a mount: what may pass is waited for and nothing else, and nobody waits
/// without end.
TEST_P(KmsTrouble, IsTheSameToThoseWhoStandAround) {
  const PatientKms::Patience long_one{
      .total = 60s, .first_pause = 1ms, .longest_pause = 2ms, .hold_off = 0ms};
  const PatientKms::Patience none{
      .total = 0ms, .first_pause = 1ms, .longest_pause = 1ms, .hold_off = 0ms};
  const auto bounded_one = bounded(std::make_shared<PatientKms>(alone_, none));
  expect_damage_is_none_of_it();
  for (const KmsCall call : {KmsCall::kWrap, KmsCall::kUnwrap}) {
    const KmsOutcome outcome = GetParam().expected(call);
    const bool may_pass = outcome == Code::kKmsUnavailable;
    begin();
    expect(*bounded_one, call, outcome);
    if (!GetParam().kind.outcome) begin();
    const auto counted = std::make_shared<Counted>(master(), [this, may_pass](unsigned number) {
      if (may_pass && number == 3) end();
    });
    PatientKms patient(counted, long_one);
    expect(patient, call, may_pass ? KmsOutcome() : outcome);
    EXPECT_EQ(counted->calls, may_pass ? 3U : 1U);
    if (!may_pass) end();
  }
  expect_all_is_well(*alone_);
}

INSTANTIATE_TEST_SUITE_P(Each, KmsTrouble, ::testing::ValuesIn(trials()),
                         [](const ::testing::TestParamInfo<Trial>& trial) {
                           return trial.param.provider.name + trial.param.kind.name;
                         });

}  // namespace
}  // namespace coffer
