#include "keystore/kms/vault_batch.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "keystore/kms/secret_text.h"
#include "keystore/kms/vault_kms.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::TransitServer;

/// A request of three keys, and what may be answered to it.
class VaultBatch : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
    server_->set_up_transit();
    master_ = create_vault_master(server_->uri(), no_passphrase).value();
    for (std::uint32_t i = 0; i < 3; ++i) keys_.push_back(SecretBytes::random(32));
    std::vector<KeyInPlace> placed;
    for (std::uint32_t i = 0; i < 3; ++i) {
      placed.push_back({&keys_[i], {}});
      placed.back().context.version = KeyVersion{i};
    }
    wrapped_ = master_->wrap_all(placed).value();
    for (std::size_t i = 0; i < 3; ++i) placed_.push_back({wrapped_[i], placed[i].context});
  }
  [[nodiscard]] std::string outcome_of(const Result<std::vector<SecretBytes>>& unwrapped) const {
    if (!unwrapped) return std::string(to_string(unwrapped.error().code));
    if (unwrapped->size() != keys_.size()) return "another number";
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (!constant_time_equal((*unwrapped)[i].expose(), keys_[i].expose())) return "another";
    }
    return "ok";
  }
  /// Where Vault answers this to a batch of `operation`.
  void answer_with(const nlohmann::json& results, const std::string& operation = "decrypt") {
    const nlohmann::json body = {{"data", {{"batch_results", results}}}};
    server_->trouble("body:" + body.dump(), "/" + operation + "/");
  }
  [[nodiscard]] nlohmann::json result(std::size_t number) const {
    const SecretBytes text = to_secret_base64(keys_[number].expose());
    return {{"plaintext", std::string(as_text(text.expose()))},
            {"reference", std::to_string(number)}};
  }

  std::optional<TransitServer> server_;
  std::unique_ptr<MasterKms> master_;
  std::vector<SecretBytes> keys_;
  std::vector<ByteVector> wrapped_;
  std::vector<WrappedInPlace> placed_;
};

TEST_F(VaultBatch, IsUnwrappedByOneCall) {
  server_->seen("");
  EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "ok");
  EXPECT_EQ(server_->seen("/decrypt/"), 1U);
  answer_with({result(0), result(1), result(2)});
  EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "ok");
}

TEST_F(VaultBatch, IsWrappedAnewByOneCall) {
  server_->api("transit/keys/master/rotate");
  server_->seen("");
  const auto fresh = master_->rewrap_all(placed_);
  ASSERT_TRUE(fresh.ok()) << fresh.error().message();
  EXPECT_EQ(server_->seen("/rewrap/"), 1U);
  ASSERT_EQ(fresh->size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(master_->version_of((*fresh)[i]), "2");
    placed_[i].wrapped = (*fresh)[i];
  }
  EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "ok");
  // Vault says 200 here, though some failed.
  placed_[1].context.scope = ScopeId{9};
  EXPECT_EQ(master_->rewrap_all(placed_).error().code, Code::kCorrupt);
}

/// The others are opened, and Vault says 400.
TEST_F(VaultBatch, OneThatFailsIsTheErrorOfAll) {
  for (std::size_t i = 0; i < 3; ++i) {
    auto placed = placed_;
    placed[i].context.scope = ScopeId{9};
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed)), "corrupt") << i;
    ByteVector odd = wrapped_[i];
    odd.pop_back();
    placed[i] = {odd, placed_[i].context};
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed)), "corrupt") << i;
    odd = {2};
    placed[i].wrapped = odd;
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed)), "unknown-version") << i;
  }
  server_->api("transit/keys/master/rotate");
  const ByteVector newer = *master_->wrap(keys_[0], placed_[0].context);
  placed_[0].wrapped = newer;
  EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "ok");
  server_->api("transit/keys/master/config", {{"min_decryption_version", 2}});
  EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "kms-key-disabled") << "the second";
  EXPECT_EQ(master_->rewrap_all(placed_).error().code, Code::kKmsKeyDisabled);
}

TEST_F(VaultBatch, WhatFailsAsAWhole) {
  const std::pair<const char*, const char*> known[] = {
      {"status:400:encryption key not found", "kms-key-missing"},
      {"status:400:missing batch input to process", "kms-unavailable"},
      {"status:403:permission denied", "kms-denied"},
      {"status:503:Vault is sealed", "kms-unavailable"},
      {"half", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:{\"data\":{\"batch_results\":[{\"plaintext\":\"AAAA", "kms-unavailable"},
      {"body:{\"data\":{\"plaintext\":\"AAAA\"}}", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    server_->trouble(kind, "/decrypt/");
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), code) << kind;
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), "ok") << "it was the trouble's";
  }
}

TEST_F(VaultBatch, AnswersThatAreNotToTheQuestion) {
  const nlohmann::json no_reference = {{"plaintext", result(1)["plaintext"]}};
  const std::pair<nlohmann::json, const char*> known[] = {
      {{result(0), result(1)}, "kms-unavailable"},
      {{result(0), result(1), result(2), result(2)}, "kms-unavailable"},
      {{result(0), result(2), result(1)}, "kms-unavailable"},
      {{result(0), {{"reference", "1"}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"plaintext", 1}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"plaintext", ""}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"error", 7}, {"plaintext", ""}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"error", "\u00e9"}, {"plaintext", ""}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"plaintext", "***"}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"within", result(1)}}, result(2)}, "kms-unavailable"},
      {{result(0), 1, result(2)}, "kms-unavailable"},
      {{result(0), {{"error", "internal error"}}, result(2)}, "kms-unavailable"},
      {{result(0), {{"error", "invalid ciphertext"}, {"plaintext", ""}}, result(2)}, "corrupt"},
      {{result(0), no_reference, result(2)}, "ok"}};  // as older Vaults answer
  for (const auto& [results, code] : known) {
    answer_with(results);
    EXPECT_EQ(outcome_of(master_->unwrap_all(placed_)), code) << results.dump();
  }
  for (const nlohmann::json& results :
       {nlohmann::json::array(), nlohmann::json::array({1, 2, 3}),
        nlohmann::json::array({result(0), result(1), result(2)}),
        nlohmann::json::array({{{"ciphertext", 1}}, {{"ciphertext", 2}}, {{"ciphertext", 3}}})}) {
    answer_with(results, "rewrap");
    EXPECT_EQ(master_->rewrap_all(placed_).error().code, Code::kKmsUnavailable) << results.dump();
  }
}

/// Of an answer that is an error, and has the keys that did open.
TEST_F(VaultBatch, NoKeyIsInAMessage) {
  const std::string key = result(0)["plaintext"];
  answer_with({result(0), {{"error", "not " + key}, {"plaintext", ""}}, result(2)});
  const auto failed = master_->unwrap_all(placed_);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message().find("not"), std::string::npos);
  EXPECT_EQ(failed.error().message().find(key.substr(0, 12)), std::string::npos);
}

}  // namespace
}  // namespace coffer
