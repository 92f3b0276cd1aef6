// The provider for Google Cloud KMS against the stand-in.

#include "keystore/kms/gcp_kms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "keystore/kms/secret_text.h"
#include "tests/unit/keystore/kms/gcp_server.h"
#include "tests/unit/keystore/kms/kms_facts.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::fact;
using testing::facts_of_the_key;
using testing::GcpServer;
using testing::set_variable;

KmsProvider gcp_provider() {
  return {"Gcp",
          [] {
            const auto server = std::make_shared<GcpServer>();
            server->make_key("second");
            const auto make = [&](const std::string& name) {
              auto master = create_master(server->uri(name), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make("master"), make("second"), no_passphrase, no_passphrase, server};
          },
          testing::have_transit_server};
}

INSTANTIATE_TEST_SUITE_P(Gcp, MasterKmsContract, ::testing::Values(gcp_provider()),
                         kms_provider_name);

class GcpMaster : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
  }
  /// The provider alone: what stands around it would ask again.
  [[nodiscard]] std::unique_ptr<MasterKms> open() const {
    auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] static std::string outcome_of(const std::string& uri) {
    const auto master = create_gcp_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] static std::string outcome() { return outcome_of(GcpServer::uri()); }
  [[nodiscard]] static std::string words_of(const std::string& uri) {
    const auto master = create_gcp_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  /// Of opening the key that a keystore remembers so.
  [[nodiscard]] static std::string reopened(const MasterKeyRecord& record) {
    const auto master = open_gcp_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string unwrapped(MasterKms& master, Bytes wrapped) const {
    const auto key = master.unwrap(wrapped, context_);
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }

  std::optional<GcpServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(GcpMaster, WhatIsOnRecord) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  EXPECT_EQ(record.uri, GcpServer::uri());
  EXPECT_TRUE(record.version.starts_with("master:20")) << record.version;
  EXPECT_EQ(record.params, "");
  const ByteVector wrapped = *master->wrap(key_, context_);
  EXPECT_EQ(wrapped[0], 1);
  EXPECT_EQ(load_le<std::uint32_t>(wrapped, 1), 1U);
  EXPECT_EQ(master->version_of(wrapped), "1");
  EXPECT_EQ(master->version_of({}), "");
}

/// Moved, or sent with no checksums: the server would take it.
TEST_F(GcpMaster, WhatIsSent) {
  const auto master = open();
  server_->seen("");
  set_variable("GOOGLE_CLOUD_QUOTA_PROJECT", "billing");
  const ByteVector wrapped = *open()->wrap(key_, context_);
  ASSERT_EQ(unwrapped(*master, wrapped), "ok");
  const auto requests = server_->requests(":");
  ASSERT_EQ(requests.size(), 2U);
  const auto sealing = nlohmann::json::parse(requests[0].at("body").get<std::string>());
  EXPECT_EQ(requests[0].at("quota_project"), "billing");
  EXPECT_TRUE(requests[1].at("quota_project").is_null());
  const auto aad =
      from_secret_base64(as_bytes(sealing.at("additionalAuthenticatedData").get<std::string>()));
  ASSERT_TRUE(aad.ok());
  EXPECT_TRUE(equal(aad->expose(), context_.encode()));
  for (const char* const sum : {"plaintextCrc32c", "additionalAuthenticatedDataCrc32c"})
    EXPECT_TRUE(sealing.at(sum).is_string());
  const auto opening = nlohmann::json::parse(requests[1].at("body").get<std::string>());
  for (const char* const sum : {"ciphertextCrc32c", "additionalAuthenticatedDataCrc32c"})
    EXPECT_TRUE(opening.at(sum).is_string());
}

TEST_F(GcpMaster, RotationAtGoogleChangesNothing) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector first = *master->wrap(key_, context_);
  EXPECT_EQ(*master->newest_version(), "1");
  server_->rotate();
  EXPECT_EQ(*master->newest_version(), "2");
  const ByteVector second = *master->wrap(key_, context_);
  EXPECT_EQ(master->version_of(second), "2");
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, first), "ok");
  EXPECT_EQ(unwrapped(*master, second), "ok");
  const auto anew = master->rewrap(first, context_);
  ASSERT_TRUE(anew.ok()) << anew.error().message();
  EXPECT_EQ(master->version_of(*anew), "2");
  EXPECT_EQ(unwrapped(*master, *anew), "ok");
  // One version is disabled; what others wrapped is still to be had.
  server_->set_state(1, "DISABLED");
  EXPECT_EQ(unwrapped(*master, first), "kms-key-disabled");
  EXPECT_EQ(unwrapped(*master, second), "ok");
  server_->set_state(1, "ENABLED");
  EXPECT_EQ(unwrapped(*master, first), "ok");
  server_->api("/cryptoKeys/master/cryptoKeyVersions/1:destroy");
  EXPECT_EQ(unwrapped(*master, first), "kms-key-disabled");
}

TEST_F(GcpMaster, APrimaryVersionThatIsDisabled) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector first = *master->wrap(key_, context_);
  server_->rotate();
  server_->set_state(2, "DISABLED");
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsKeyDisabled);
  EXPECT_EQ(outcome(), "kms-key-disabled") << "no store is begun on it";
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, first), "ok");
  server_->ask({{"do", "set_key"},
                {"name", std::string(GcpServer::kRing) + "/cryptoKeys/master"},
                {"primary", 0}});
  EXPECT_EQ(outcome(), "kms-key-disabled");
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(master->newest_version().error().code, Code::kKmsKeyDisabled);
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsKeyDisabled);
  EXPECT_TRUE(master->inspect().ok());
}

/// Google does not authenticate which version it was; the check does.
TEST_F(GcpMaster, TheVersionThatIsWrittenIsTheOneThatWrapped) {
  const auto master = open();
  ByteVector first = *master->wrap(key_, context_);
  server_->rotate();
  const ByteVector second = *master->wrap(key_, context_);
  ByteVector altered = first;
  altered[1] = 2;
  EXPECT_EQ(master->version_of(altered), "2");
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  std::copy_n(second.begin() + 5, 16, altered.begin() + 5);
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  altered = first;
  altered[1] = 0;
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  EXPECT_EQ(master->version_of(altered), "");
  altered[0] = 2;
  EXPECT_EQ(unwrapped(*master, altered), "unknown-version");
  first.resize(21 + 1025);
  server_->seen("");
  EXPECT_EQ(unwrapped(*master, first), "corrupt");
  EXPECT_EQ(server_->seen(""), 0U);
}

TEST_F(GcpMaster, KeysThatAreNone) {
  EXPECT_EQ(outcome_of(GcpServer::uri("nothing")), "kms-key-missing");
  EXPECT_EQ(outcome_of("gcp-kms://projects/q/locations/l/keyRings/r/cryptoKeys/k"), "kms-denied")
      << "Google does not tell";
  server_->make_key("signs", "ASYMMETRIC_SIGN");
  EXPECT_EQ(outcome_of(GcpServer::uri("signs")), "unsupported");
  EXPECT_NE(words_of(GcpServer::uri("signs")).find("--purpose=encryption"), std::string::npos);
  server_->make_key("other");
  MasterKeyRecord record = open()->describe();
  record.uri = GcpServer::uri("other");
  EXPECT_EQ(reopened(record), "wrong-key");
  record.uri = GcpServer::uri();
  for (const char* const odd : {"x", "master", "master:", "master:2020-01-01T00:00:00Z"}) {
    record.version = odd;
    EXPECT_EQ(reopened(record), "wrong-key") << odd;
  }
  record.version = "";
  EXPECT_EQ(reopened(record), "corrupt");
}

TEST_F(GcpMaster, UrisThatCannotBe) {
  const std::string good = GcpServer::uri();
  for (const std::string& uri :
       {std::string("gcp-kms://"),
        std::string("gcp-kms:projects/p"),
        std::string("gcp-kms://projects/p/locations/l/keyRings/r"),
        std::string("gcp-kms:///projects/p/locations/l/keyRings/r/cryptoKeys/k"),
        std::string("gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/"),
        std::string("gcp-kms://projects//locations/l/keyRings/r/cryptoKeys/k"),
        std::string("gcp-kms://projects/../locations/l/keyRings/r/cryptoKeys/k"),
        std::string("gcp-kms://projects/p/locations/../keyRings/r/cryptoKeys/k"),
        std::string("gcp-kms://projects/p/locations/l/keyrings/r/cryptoKeys/k"),
        std::string("gcp-kms://projects/p/locations/l/keyRings/r%2f/cryptoKeys/k"),
        std::string("gcp-kms://projects/p/locations/l/keyRings/r s/cryptoKeys/k"),
        std::string("gcp-kms://projects/p@q/locations/l/keyRings/r/cryptoKeys/k"),
        std::string("gcp-kms://evil.example.com/projects/p/locations/l/keyRings/r/cryptoKeys/k"),
        good + "/",
        good + "/cryptoKeyVersions/1",
        good + "?key=7531",
        good + "#7531",
        good + ":decrypt",
        good + "\n",
        good + std::string(64, 'k'),
        "gcp-kms://user:7531@" + good.substr(10)}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
    EXPECT_EQ(words_of(uri).find("7531"), std::string::npos) << words_of(uri);
  }
  EXPECT_EQ(server_->seen(""), 0U);
  EXPECT_TRUE(GcpKeyUri::parse(
                  "gcp-kms://projects/example.com:p-1/locations/global/keyRings/R_1/cryptoKeys/_k")
                  .ok());
}

TEST_F(GcpMaster, ANodeMayNameTheKeysThatItUses) {
  const MasterKeyRecord record = open()->describe();
  const std::string ring = GcpServer::kRing;
  for (const std::string& keys :
       {ring, ring + "/", ring + "/cryptoKeys/master", std::string("projects/p"),
        std::string("projects/p/"), "projects/q, " + ring, ring + "/ projects/q/"}) {
    set_variable("COFFER_GCP_KEYS", keys);
    EXPECT_EQ(reopened(record), "ok") << keys;
  }
  server_->seen("");
  for (const std::string& keys :
       {ring.substr(0, ring.size() - 1), std::string("projects/q"), ring + "/cryptoKeys/master2",
        std::string("p"), std::string("/"), std::string("//"), std::string("projects"),
        std::string("projects/"), std::string("projects//"), std::string(" , "),
        std::string("projects/q, projects/r"), ring + ",p"}) {
    set_variable("COFFER_GCP_KEYS", keys);
    EXPECT_EQ(reopened(record), "key-unavailable") << keys;
  }
  EXPECT_EQ(server_->seen(""), 0U);
}

TEST_F(GcpMaster, WhatCertificatesSay) {
  set_variable("COFFER_GCP_CA_FILE", server_->file("another-ca.pem"));
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words_of(GcpServer::uri()).find("does not verify"), std::string::npos);
  set_variable("COFFER_GCP_CA_FILE", server_->file("nothing.pem"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_GCP_CA_FILE", server_->file("ca.pem"));
  set_variable("COFFER_GCP_PIN_SHA256", server_->pin());
  EXPECT_EQ(outcome(), "ok");
  const std::string other = (server_->pin()[0] == 'A' ? "B" : "A") + server_->pin().substr(1);
  set_variable("COFFER_GCP_PIN_SHA256", other);
  EXPECT_EQ(outcome(), "kms-unavailable");
  set_variable("COFFER_GCP_PIN_SHA256", "");
  server_->restart("other-host");
  EXPECT_EQ(outcome(), "kms-unavailable");
}

TEST_F(GcpMaster, EndpointsThatCannotBe) {
  for (const char* const endpoint :
       {"127.0.0.1", "ftp://127.0.0.1", "https://", "https://127.0.0.1:1/path",
        "https://user@127.0.0.1:1", "https://127.0.0.1:0"}) {
    set_variable("COFFER_GCP_ENDPOINT", endpoint);
    EXPECT_EQ(outcome(), "key-unavailable") << endpoint;
  }
  set_variable("COFFER_GCP_ENDPOINT", "http://192.0.2.1");
  EXPECT_EQ(outcome(), "invalid") << "plain text is for loopback";
  set_variable("COFFER_GCP_ENDPOINT", "http://169.254.169.254");
  EXPECT_EQ(outcome(), "invalid");
  set_variable("COFFER_GCP_ENDPOINT", "http://" + server_->plain_host() + "/");
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(GcpMaster, WhatGoogleTellsOfItself) {
  server_->rotate();
  const auto master = open();
  const auto facts = master->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(fact(*facts, "connection"), "TLSv1.3");
  EXPECT_EQ(fact(*facts, "its public key"), server_->pin() + " (SHA-256)");
  const std::string said = facts_of_the_key(*facts);
  const std::string made_at = master->describe().version.substr(std::string("master:").size());
  EXPECT_EQ(said, "key made at=" + made_at +
                      ";newest version=2;its state=ENABLED;algorithm=GOOGLE_SYMMETRIC_ENCRYPTION;"
                      "protection level=SOFTWARE;we are=" +
                      std::string(GcpServer::kNode) + ";");
}

TEST_F(GcpMaster, ANodeThatMayOnlyRead) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  server_->ask(
      {{"do", "allow"},
       {"principal", GcpServer::kNode},
       {"resource", GcpServer::kRing},
       {"permissions", {"cloudkms.cryptoKeys.get", "cloudkms.cryptoKeyVersions.useToDecrypt"}}});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsDenied);
  server_->ask({{"do", "allow"},
                {"principal", GcpServer::kNode},
                {"resource", GcpServer::kRing},
                {"permissions", {"cloudkms.cryptoKeyVersions.useToDecrypt"}}});
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words_of(GcpServer::uri()).find("GCP.md"), std::string::npos);
}

}  // namespace
}  // namespace coffer
