#include "tests/unit/keystore/kms/master_kms_contract.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using Purpose = KeyContext::Purpose;

std::unique_ptr<MasterKms> must_open(const MasterKeyRecord& record,
                                     const PassphraseSource& passphrase) {
  auto master = open_master(record, passphrase);
  if (!master) throw std::runtime_error(master.error().message());
  return *std::move(master);
}

bool holds(Bytes haystack, Bytes needle) {
  return std::search(haystack.begin(), haystack.end(), needle.begin(), needle.end()) !=
         haystack.end();
}

/// A provider may or may not be able to tell another key's work from damage.
void expect_refused(const Result<SecretBytes>& unwrapped) {
  ASSERT_FALSE(unwrapped.ok());
  const Code code = unwrapped.error().code;
  EXPECT_TRUE(code == Code::kCorrupt || code == Code::kWrongKey || code == Code::kUnknownVersion)
      << unwrapped.error().message();
}

}  // namespace

// One that no provider instantiates yet is no failure of this file.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MasterKmsContract);

Result<SecretBytes> no_passphrase(bool confirm) {
  ADD_FAILURE() << "asked for a passphrase";
  (void)confirm;
  return Error{Code::kKeyUnavailable, 0, "no passphrase here"};
}

void MasterKmsContract::SetUp() {
  if (!GetParam().is_there()) COFFER_SKIP("what " + GetParam().name + " is tried with");
  setting_ = GetParam().set_up();
  master_ = open_first();
  context_.purpose = Purpose::kDek;
  context_.store.bytes.fill(0xa1);
  context_.scope = ScopeId{2};
  context_.wrapping_kek = KeyVersion{3};
  context_.file.bytes.fill(0xf1);
  context_.version = KeyVersion{4};
}

std::unique_ptr<MasterKms> MasterKmsContract::open_first() {
  return must_open(setting_.first, setting_.first_passphrase);
}

TEST_P(MasterKmsContract, UnwrapsWhatItWrapped) {
  for (const Purpose purpose :
       {Purpose::kPolicyKey, Purpose::kKek, Purpose::kScopeSecret, Purpose::kDek}) {
    context_.purpose = purpose;
    const auto wrapped = master_->wrap(key_, context_);
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    const auto unwrapped = master_->unwrap(*wrapped, context_);
    ASSERT_TRUE(unwrapped.ok()) << unwrapped.error().message();
    EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key_.expose()));
  }
}

TEST_P(MasterKmsContract, UnwrapsWhatItWrappedBeforeARestart) {
  const ByteVector wrapped = *master_->wrap(key_, context_);
  master_ = open_first();
  const auto unwrapped = master_->unwrap(wrapped, context_);
  ASSERT_TRUE(unwrapped.ok()) << unwrapped.error().message();
  EXPECT_TRUE(constant_time_equal(unwrapped->expose(), key_.expose()));
}

TEST_P(MasterKmsContract, WrappingHidesTheKeyAndTheRepetition) {
  const ByteVector first = *master_->wrap(key_, context_);
  const ByteVector second = *master_->wrap(key_, context_);
  EXPECT_NE(first, second);
  for (std::size_t at = 0; at + 8 <= key_.size(); at += 8) {
    EXPECT_FALSE(holds(first, key_.expose().subspan(at, 8)));
  }
}

TEST_P(MasterKmsContract, EveryFieldOfTheContextBinds) {
  const ByteVector wrapped = *master_->wrap(key_, context_);
  std::vector<std::pair<const char*, KeyContext>> others;
  const auto other = [&](const char* field) -> KeyContext& {
    return others.emplace_back(field, context_).second;
  };
  other("purpose").purpose = Purpose::kKek;
  other("purpose").purpose = Purpose::kScopeSecret;
  other("store").store.bytes[0] ^= 1;
  other("store").store.bytes[15] ^= 0x80;
  other("scope").scope.value = 0;
  other("scope").scope.value ^= 0x80000000;
  other("wrapping_kek").wrapping_kek.value = 0;
  other("wrapping_kek").wrapping_kek.value ^= 0x80000000;
  other("file").file.bytes[0] ^= 1;
  other("file").file.bytes[15] ^= 0x80;
  other("version").version.value = 0;
  other("version").version.value ^= 0x80000000;
  KeyContext& swapped = other("scope and version");
  std::swap(swapped.scope.value, swapped.version.value);
  KeyContext& exchanged = other("store and file");
  std::swap(exchanged.store.bytes, exchanged.file.bytes);
  for (const auto& [field, context] : others) {
    SCOPED_TRACE(field);
    expect_refused(master_->unwrap(wrapped, context));
  }
  EXPECT_TRUE(master_->unwrap(wrapped, context_).ok());
}

TEST_P(MasterKmsContract, RefusesEveryChangedBit) {
  ByteVector wrapped = *master_->wrap(key_, context_);
  for (std::size_t bit = 0; bit < wrapped.size() * 8; ++bit) {
    SCOPED_TRACE(bit);
    wrapped[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    expect_refused(master_->unwrap(wrapped, context_));
    wrapped[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
}

TEST_P(MasterKmsContract, RefusesWhatIsCutLengthenedOrNothing) {
  ByteVector wrapped = *master_->wrap(key_, context_);
  for (std::size_t length = 0; length < wrapped.size(); ++length) {
    expect_refused(master_->unwrap(Bytes(wrapped).first(length), context_));
  }
  expect_refused(master_->unwrap(ByteVector(wrapped.size()), context_));
  wrapped.push_back(0);
  expect_refused(master_->unwrap(wrapped, context_));
}

TEST_P(MasterKmsContract, AnotherMasterKeyUnwrapsNothing) {
  const auto second = must_open(setting_.second, setting_.second_passphrase);
  EXPECT_NE(second->describe().version, master_->describe().version);
  expect_refused(second->unwrap(*master_->wrap(key_, context_), context_));
  expect_refused(master_->unwrap(*second->wrap(key_, context_), context_));
}

TEST_P(MasterKmsContract, WrapsKeysOf32BytesOnly) {
  for (const std::size_t size : {0U, 1U, 16U, 31U, 33U, 64U}) {
    const auto wrapped = master_->wrap(SecretBytes::random(size), context_);
    ASSERT_FALSE(wrapped.ok()) << size;
    EXPECT_EQ(wrapped.error().code, Code::kInvalid) << size;
  }
}

TEST_P(MasterKmsContract, DescribesWhatItWasOpenedWith) {
  const MasterKeyRecord record = master_->describe();
  EXPECT_EQ(record.uri, setting_.first.uri);
  EXPECT_EQ(record.version, setting_.first.version);
  EXPECT_EQ(record.params, setting_.first.params);
  EXPECT_FALSE(record.version.empty());
}

TEST_P(MasterKmsContract, ServesManyThreads) {
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint32_t i = 0; i < 25; ++i) {
        KeyContext context = context_;
        context.version = KeyVersion{1000 + thread * 1000 + i};  // none of them context_
        const SecretBytes key = SecretBytes::random(32);
        const auto wrapped = master_->wrap(key, context);
        const auto unwrapped =
            wrapped ? master_->unwrap(*wrapped, context) : Result<SecretBytes>(wrapped.error());
        if (!unwrapped || !constant_time_equal(unwrapped->expose(), key.expose())) ++failures;
        if (wrapped && master_->unwrap(*wrapped, context_)) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace coffer
