#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "keystore/kms/azure_kms.h"
#include "tests/unit/keystore/kms/azure_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {

/// The provider on the stand-in, without what stands around it, which would ask again. Outcomes are
/// "ok" or the name of a code.
class AzureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
  }
  [[nodiscard]] static std::unique_ptr<MasterKms> open(
      const std::string& host = testing::AzureServer::kVault) {
    auto master = create_azure_master(testing::AzureServer::uri("master", host), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] static std::string outcome_of(const std::string& uri) {
    const auto master = create_azure_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] static std::string outcome() { return outcome_of(testing::AzureServer::uri()); }
  [[nodiscard]] static std::string words_of(const std::string& uri) {
    const auto master = create_azure_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  /// Of opening the key that a keystore remembers so.
  [[nodiscard]] static std::string reopened(const MasterKeyRecord& record) {
    const auto master = open_azure_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string unwrapped(MasterKms& master, Bytes wrapped) const {
    const auto key = master.unwrap(wrapped, context_);
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }
  [[nodiscard]] std::string wrapping(MasterKms& master) const {
    const auto wrapped = master.wrap(key_, context_);
    return wrapped ? "ok" : std::string(to_string(wrapped.error().code));
  }

  std::optional<testing::AzureServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

}  // namespace coffer
