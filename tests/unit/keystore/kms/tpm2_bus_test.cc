// What passes between coffer and the TPM, read and altered on the way.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "keystore/crypto/digest.h"
#include "keystore/kms/tpm2_seal.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/soft_tpm.h"

namespace coffer {
namespace {

using testing::SoftTpm;
using testing::TpmTap;

constexpr std::uint32_t kCreatePrimary = 0x131;
constexpr std::uint32_t kFlushContext = 0x165;
constexpr std::uint32_t kCreate = 0x153;
constexpr std::uint32_t kUnseal = 0x15e;
constexpr std::uint32_t kStartAuthSession = 0x176;
constexpr std::uint32_t kPolicyPcr = 0x17f;

bool holds(Bytes haystack, Bytes needle) {
  return std::search(haystack.begin(), haystack.end(), needle.begin(), needle.end()) !=
         haystack.end();
}

class Tpm2Bus : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_soft_tpm()) COFFER_SKIP("no swtpm or tpm2-tools");
    tpm_.emplace();
  }
  Result<Tpm2Sealed> seal() const { return tpm2_seal(secret_, pcrs_, authorization_); }
  Result<SecretBytes> unseal(const Tpm2Sealed& sealed) const {
    return tpm2_unseal(sealed, pcrs_, authorization_);
  }
  bool is_ours(const Result<SecretBytes>& got) const {
    return got && constant_time_equal(got->expose(), secret_.expose());
  }
  /// How many commands it takes.
  unsigned commands_of(const std::function<void()>& call) const {
    TpmTap tap(*tpm_);
    call();
    return static_cast<unsigned>(tap.finish().size() / 2);
  }

  std::optional<SoftTpm> tpm_;
  const PcrSelection pcrs_{PcrSelection::Bank::kSha256, 0x80};
  const SecretBytes secret_ = SecretBytes::random(32);
  const SecretBytes authorization_ = [] {
    SecretBytes value = SecretBytes::random(32);
    value.expose().back() |= 1;
    return value;
  }();
};

TEST_F(Tpm2Bus, NothingSecretPasses) {
  TpmTap tap(*tpm_);
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok()) << sealed.error().message();
  ASSERT_TRUE(is_ours(unseal(*sealed)));
  const std::vector<ByteVector> passed = tap.finish();
  EXPECT_GT(passed.size(), 20U);
  for (const ByteVector& message : passed) {
    for (std::size_t at = 0; at + 8 <= 32; at += 8) {
      EXPECT_FALSE(holds(message, secret_.expose().subspan(at, 8)));
      EXPECT_FALSE(holds(message, authorization_.expose().subspan(at, 8)));
    }
  }
}

/// A session without salt would encrypt by what has passed before the eyes of all.
TEST_F(Tpm2Bus, EverySessionIsSalted) {
  TpmTap tap(*tpm_);
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  ASSERT_TRUE(is_ours(unseal(*sealed)));
  unsigned sessions = 0;
  for (const std::vector<ByteVector> passed = tap.finish(); const ByteVector& message : passed) {
    if (testing::command_code(message) != kStartAuthSession) continue;
    ++sessions;
    const ByteVector key(message.begin() + 10, message.begin() + 14);
    EXPECT_NE(key, (ByteVector{0x40, 0, 0, 7})) << "TPM_RH_NULL";
  }
  EXPECT_EQ(sessions, 4U);
}

TEST_F(Tpm2Bus, PcrsCantBeLeftOut) {
  bool left_out = false;
  TpmTap tap(*tpm_, {.command = [&](unsigned, ByteVector& command) {
    if (testing::command_code(command) != kPolicyPcr) return;
    std::fill(command.end() - 3, command.end(), std::uint8_t{0});
    left_out = true;
  }});
  EXPECT_FALSE(seal().ok());
  EXPECT_TRUE(left_out);
}

/// Those may fail that only clear away: a flush, and what is done once more so that the library
/// forgets what it was given.
TEST_F(Tpm2Bus, EachCommandMayFailAndNothingIsLeft) {
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  for (const bool sealing : {true, false}) {
    const auto works = [&] { return sealing ? seal().ok() : is_ours(unseal(*sealed)); };
    const unsigned all = commands_of([&] { ASSERT_TRUE(works()); });
    bool done = false;
    for (unsigned bad = 0; bad < all; ++bad) {
      SCOPED_TRACE((sealing ? "sealing, " : "unsealing, ") + std::to_string(bad));
      TpmTap tap(*tpm_, {.refused = bad});
      const bool worked = works();
      const auto passed = tap.finish();
      ASSERT_GT(passed.size() / 2, bad);
      const std::uint32_t code = testing::command_code(passed[std::size_t{2} * bad]);
      const bool was_flush = code == kFlushContext;
      EXPECT_EQ(worked, done || was_flush) << "command " << code;
      EXPECT_EQ(tpm_->handles(), was_flush ? 1U : 0U);
      if (was_flush) tpm_->restart();
      done = done || code == (sealing ? kCreate : kUnseal);
    }
  }
}

TEST_F(Tpm2Bus, NothingIsLeftOnTheTpm) {
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  const SecretBytes wrong = SecretBytes::copy_of(as_bytes("wrong"));
  for (unsigned attempt = 0; attempt < 5; ++attempt) {
    EXPECT_TRUE(is_ours(unseal(*sealed)));
    EXPECT_EQ(tpm2_unseal(*sealed, {}, authorization_).error().code, Code::kKmsDenied);
    Tpm2Sealed altered = *sealed;
    altered.private_area.back() ^= 1;
    EXPECT_EQ(unseal(altered).error().code, Code::kCorrupt);
    altered = *sealed;
    altered.storage_key.back() ^= 1;
    EXPECT_EQ(unseal(altered).error().code, Code::kKmsKeyMissing);
    if (attempt < 2) {
      EXPECT_EQ(tpm2_unseal(*sealed, pcrs_, wrong).error().code, Code::kWrongKey);
    }
    EXPECT_EQ(tpm_->handles(), 0U);
  }
}

TEST_F(Tpm2Bus, TheLineIsCut) {
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  const unsigned all = commands_of([&] { ASSERT_TRUE(is_ours(unseal(*sealed))); });
  for (unsigned last = 0; last < all; ++last) {
    SCOPED_TRACE(last);
    TpmTap tap(*tpm_, {.answer = [&](unsigned number, ByteVector& answer) {
      if (number == last) answer.clear();
    }});
    const auto got = unseal(*sealed);
    EXPECT_TRUE(is_ours(got) || (!got && got.error().code == Code::kKmsUnavailable));
    tap.finish();
    tpm_->restart();  // what could not be flushed
  }
}

/// Whatever is changed of an answer, what comes of it is the secret or an error.
TEST_F(Tpm2Bus, AnswersAreAltered) {
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  const unsigned all = commands_of([&] { ASSERT_TRUE(is_ours(unseal(*sealed))); });
  for (unsigned which = 0; which < all; ++which) {
    for (const int from_end : {1, 20, 40}) {
      SCOPED_TRACE(std::to_string(which) + ", byte " + std::to_string(-from_end));
      TpmTap tap(*tpm_, {.answer = [&](unsigned number, ByteVector& answer) {
        if (number == which && answer.size() >= static_cast<std::size_t>(from_end))
          answer[answer.size() - static_cast<std::size_t>(from_end)] ^= 1;
      }});
      const auto got = unseal(*sealed);
      EXPECT_TRUE(!got || is_ours(got));
    }
    tpm_->restart();
  }
}

/// Somebody on the line gives a key of his own for the TPM's, to read what is encrypted for it.
TEST_F(Tpm2Bus, AnotherStorageKeyIsGivenNothing) {
  const auto sealed = seal();
  ASSERT_TRUE(sealed.ok());
  ByteVector theirs;
  {
    const SoftTpm other;
    TpmTap tap(other);
    EXPECT_EQ(unseal(*sealed).error().code, Code::kKmsKeyMissing);
    for (const auto passed = tap.finish(); const ByteVector& message : passed) {
      if (theirs.empty() && &message != &passed.front() &&
          testing::command_code(*(&message - 1)) == kCreatePrimary)
        theirs = message;
    }
  }
  ASSERT_FALSE(theirs.empty());
  TpmTap tap(*tpm_, {.answer = [&](unsigned, ByteVector& answer) {
    if (answer.size() == theirs.size()) answer = theirs;
  }});
  const auto got = unseal(*sealed);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, Code::kKmsKeyMissing) << got.error().message();
  const auto passed = tap.finish();
  for (std::size_t i = 0; i < passed.size(); i += 2) {
    const std::uint32_t code = testing::command_code(passed[i]);
    EXPECT_TRUE(code == kCreatePrimary || code == kFlushContext) << std::hex << code;
  }
  EXPECT_EQ(passed.size(), 4U);
}

}  // namespace
}  // namespace coffer
