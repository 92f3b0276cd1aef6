#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "keystore/kms/kmip_kms.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"

namespace coffer {
namespace {

using testing::KmipServer;

/// Keys that were wrapped, to be unwrapped by one request.
class KmipBatch : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kKeys = 10;

  void SetUp() override {
    if (!testing::have_kmip_server()) COFFER_SKIP("no python3-pykmip");
    server_.emplace();
    master_ = create_kmip_master(server_->new_key(), no_passphrase).value();
    for (std::uint32_t i = 0; i < kKeys; ++i) keys_.push_back(SecretBytes::random(32));
    std::vector<KeyInPlace> placed;
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      placed.push_back({&keys_[i], {}});
      placed.back().context.version = KeyVersion{i};
    }
    wrapped_ = master_->wrap_all(placed).value();
    for (std::size_t i = 0; i < kKeys; ++i) placed_.push_back({wrapped_[i], placed[i].context});
    server_->seen();
  }
  [[nodiscard]] std::string outcome() {
    const auto unwrapped = master_->unwrap_all(placed_);
    if (!unwrapped) return std::string(to_string(unwrapped.error().code));
    if (unwrapped->size() != keys_.size()) return "another number";
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (!constant_time_equal((*unwrapped)[i].expose(), keys_[i].expose())) return "another";
    }
    return "ok";
  }
  /// How many keys each Decrypt of the last call asked for.
  [[nodiscard]] std::vector<int> requests() {
    std::vector<int> items;
    for (const auto& request : server_->seen("Decrypt")) items.push_back(request.at("items"));
    return items;
  }

  std::optional<KmipServer> server_;
  std::unique_ptr<MasterKms> master_;
  std::vector<SecretBytes> keys_;
  std::vector<ByteVector> wrapped_;
  std::vector<WrappedInPlace> placed_;
};

TEST_F(KmipBatch, IsUnwrappedByOneRequest) {
  EXPECT_EQ(outcome(), "ok");
  EXPECT_EQ(requests(), std::vector<int>{10});
}

TEST_F(KmipBatch, IsWrappedAnew) {
  const auto fresh = master_->rewrap_all(placed_);
  ASSERT_TRUE(fresh.ok()) << fresh.error().message();
  EXPECT_EQ(requests(), std::vector<int>{10});
  ASSERT_EQ(fresh->size(), placed_.size());
  for (std::size_t i = 0; i < placed_.size(); ++i) {
    EXPECT_NE((*fresh)[i], wrapped_[i]);
    placed_[i].wrapped = (*fresh)[i];
  }
  EXPECT_EQ(outcome(), "ok");
}

/// The server does not say which it is, nor why: it is asked of that one alone.
TEST_F(KmipBatch, OneThatFailsIsTheErrorOfAll) {
  for (const std::size_t at : {0U, 4U, 9U}) {
    const auto placed = placed_;
    placed_[at].context.scope = ScopeId{9};
    EXPECT_EQ(outcome(), "corrupt") << at;
    EXPECT_EQ(requests(), (std::vector<int>{10, 1, 1, 1})) << "twice, the fingerprint in between";
    ByteVector odd = wrapped_[at];
    odd.pop_back();
    placed_[at].wrapped = odd;
    EXPECT_EQ(outcome(), "corrupt") << at;
    odd = {2};
    placed_[at].wrapped = odd;
    EXPECT_EQ(outcome(), "unknown-version") << at;
    EXPECT_TRUE(requests().empty()) << "what is no wrapped key is sent nowhere";
    placed_ = placed;
  }
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(KmipBatch, TroubleIsToldFromDamage) {
  server_->trouble("fail:0x100", "Decrypt");
  EXPECT_EQ(outcome(), "ok") << "the first alone, then the rest";
  EXPECT_EQ(requests(), (std::vector<int>{10, 1, 9}));
  server_->trouble("fail:0x100", "Decrypt", 3);
  EXPECT_EQ(outcome(), "kms-unavailable");
  server_->trouble("fail:0xc", "Decrypt", 2);
  EXPECT_EQ(outcome(), "kms-denied");
  for (const char* const kind : {"swap", "half"}) {
    server_->trouble(kind, "Decrypt");
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
  }
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(KmipBatch, AServerThatTakesNone) {
  server_->trouble("fail:8", "Decrypt");
  EXPECT_EQ(outcome(), "ok");
  EXPECT_EQ(requests().size(), 11U);
  EXPECT_EQ(master_->batch_size(), 1U);
  EXPECT_EQ(outcome(), "ok");
  EXPECT_EQ(requests(), std::vector<int>(10, 1));
}

}  // namespace
}  // namespace coffer
