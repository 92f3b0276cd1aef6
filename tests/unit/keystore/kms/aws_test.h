#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "keystore/kms/aws_kms.h"
#include "tests/unit/keystore/kms/aws_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"

namespace coffer {

/// The provider on the stand-in, without what stands around it, which would ask again. Outcomes are
/// "ok" or the name of a code.
class AwsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_aws_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
  }
  [[nodiscard]] std::unique_ptr<MasterKms> open() const {
    auto master = create_aws_master(server_->uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] static std::string outcome_of(const std::string& uri) {
    const auto master = create_aws_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string outcome() const { return outcome_of(server_->uri()); }
  [[nodiscard]] static std::string words_of(const std::string& uri) {
    const auto master = create_aws_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  [[nodiscard]] std::string words() const { return words_of(server_->uri()); }
  [[nodiscard]] static std::string reopened(const MasterKeyRecord& record) {
    const auto master = open_aws_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string wrapping(MasterKms& master) const {
    const auto wrapped = master.wrap(key_, context_);
    return wrapped ? "ok" : std::string(to_string(wrapped.error().code));
  }
  [[nodiscard]] std::string unwrapped(MasterKms& master, Bytes wrapped) const {
    const auto key = master.unwrap(wrapped, context_);
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }

  std::optional<testing::AwsServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

}  // namespace coffer
