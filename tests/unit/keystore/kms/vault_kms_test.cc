// The Vault provider against the stand-in.

#include "keystore/kms/vault_kms.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "tests/support/privileges.h"
#include "tests/unit/keystore/kms/kms_facts.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::fact;
using testing::facts_of_the_key;
using testing::set_variable;
using testing::TransitServer;

KmsProvider vault_provider() {
  return {"Vault",
          [] {
            const auto server = std::make_shared<TransitServer>();
            server->set_up_transit();
            server->api("transit/keys/second", {{"derived", true}, {"type", "chacha20-poly1305"}});
            set_variable("VAULT_TOKEN", server->token("node"));
            const auto make = [&](const std::string& name) {
              auto master = create_master(server->uri(name), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make("master"), make("second"), no_passphrase, no_passphrase, server};
          },
          testing::have_transit_server};
}

INSTANTIATE_TEST_SUITE_P(Vault, MasterKmsContract, ::testing::Values(vault_provider()),
                         kms_provider_name);

class VaultMaster : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
    server_->set_up_transit();
  }
  /// The provider alone: what stands around it would ask again.
  [[nodiscard]] std::unique_ptr<MasterKms> open() const {
    auto master = create_vault_master(server_->uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] std::string outcome_of(const std::string& uri) const {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string outcome() const { return outcome_of(server_->uri()); }
  [[nodiscard]] std::string words_of(const std::string& uri) const {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  /// Of opening the key that a keystore remembers so.
  [[nodiscard]] std::string reopened(const MasterKeyRecord& record) const {
    const auto master = open_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string unwrapped(MasterKms& master, Bytes wrapped) const {
    const auto key = master.unwrap(wrapped, context_);
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }

  std::optional<TransitServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(VaultMaster, WhatIsOnRecord) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  EXPECT_EQ(record.uri, server_->uri());
  EXPECT_TRUE(record.version.starts_with("master:1:")) << record.version;
  EXPECT_EQ(record.params, "");
  const ByteVector wrapped = *master->wrap(key_, context_);
  EXPECT_EQ(wrapped[0], 1);
  EXPECT_TRUE(as_text(Bytes(wrapped).subspan(1)).starts_with("vault:v1:"));
}

TEST_F(VaultMaster, RotationAtVaultChangesNothing) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector first = *master->wrap(key_, context_);
  server_->api("transit/keys/master/rotate");
  const ByteVector second = *master->wrap(key_, context_);
  EXPECT_TRUE(as_text(Bytes(second).subspan(1)).starts_with("vault:v2:"));
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, first), "ok");
  EXPECT_EQ(unwrapped(*master, second), "ok");
  // An archived version goes from Vault's list, and its wrapped keys can be had back.
  server_->api("transit/keys/master/config", {{"min_decryption_version", 2}});
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, first), "kms-key-disabled");
  server_->api("transit/keys/master/config", {{"min_decryption_version", 1}});
  EXPECT_EQ(unwrapped(*master, first), "ok");
  server_->api("transit/keys/master/config", {{"min_decryption_version", 2}});
  server_->api("transit/keys/master/trim", {{"min_available_version", 2}});
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, second), "ok");
}

TEST_F(VaultMaster, WrapsAnewByItsNewestVersion) {
  const auto master = open();
  const ByteVector first = *master->wrap(key_, context_);
  EXPECT_EQ(master->version_of(first), "1");
  EXPECT_EQ(*master->newest_version(), "1");
  server_->api("transit/keys/master/rotate");
  EXPECT_EQ(*master->newest_version(), "2");
  const auto second = master->rewrap(first, context_);
  ASSERT_TRUE(second.ok()) << second.error().message();
  EXPECT_EQ(master->version_of(*second), "2");
  server_->api("transit/keys/master/config", {{"min_decryption_version", 2}});
  const auto unwrapped_again = master->unwrap(*second, context_);
  ASSERT_TRUE(unwrapped_again.ok());
  EXPECT_TRUE(constant_time_equal(unwrapped_again->expose(), key_.expose()));
  EXPECT_EQ(master->rewrap(first, context_).error().code, Code::kKmsKeyDisabled);
  KeyContext other = context_;
  other.scope = ScopeId{9};
  EXPECT_EQ(master->rewrap(*second, other).error().code, Code::kCorrupt);
  ByteVector odd = *second;
  odd.pop_back();
  EXPECT_EQ(master->rewrap(odd, context_).error().code, Code::kCorrupt);
  EXPECT_EQ(master->version_of(odd), "");
  EXPECT_EQ(master->version_of({}), "");
}

TEST_F(VaultMaster, AnotherKeyOfTheSameName) {
  set_variable("VAULT_TOKEN", server_->token("node"));
  const auto master = open();
  MasterKeyRecord record = master->describe();
  const ByteVector wrapped = *master->wrap(key_, context_);
  server_->api("transit/keys/master/config", {{"deletion_allowed", true}});
  server_->api("transit/keys/master", nlohmann::json::object(), "DELETE");
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-key-missing");
  const auto nowhere = master->wrap(key_, context_);
  ASSERT_FALSE(nowhere.ok()) << "Vault would make one, for root";
  EXPECT_EQ(nowhere.error().code, Code::kKmsDenied);
  EXPECT_EQ(reopened(record), "kms-key-missing");
  server_->api("transit/keys/master", {{"derived", true}});
  EXPECT_EQ(unwrapped(*master, wrapped), "corrupt");
  record.version = "master:1:1000000000";
  EXPECT_EQ(reopened(record), "wrong-key");
  record.version = "master:7:1000000000";
  EXPECT_EQ(reopened(record), "wrong-key") << "there was no such version yet";
  for (const char* const odd :
       {"", "x", "master", "master:1", ":1:1", "master:01:1", "master:1:"}) {
    record.version = odd;
    EXPECT_NE(reopened(record), "ok") << odd;
  }
}

TEST_F(VaultMaster, KeysThatAreNone) {
  EXPECT_EQ(outcome_of(server_->uri("nothing")), "kms-key-missing");
  EXPECT_NE(words_of(server_->uri("nothing")).find("vault write -f transit/keys/nothing"),
            std::string::npos);
  EXPECT_EQ(server_->seen("encrypt"), 0U) << "which would make it";
  EXPECT_EQ(outcome_of("hcvault://" + server_->host() + "/other/keys/master"), "kms-key-missing");
  server_->api("transit/keys/shared", {{"derived", false}});
  EXPECT_EQ(outcome_of(server_->uri("shared")), "unsupported");
  EXPECT_NE(words_of(server_->uri("shared")).find("derived"), std::string::npos);
  server_->api("transit/keys/same", {{"derived", true}, {"convergent_encryption", true}});
  EXPECT_EQ(outcome_of(server_->uri("same")), "unsupported");
  server_->api("transit/keys/open", {{"derived", true}, {"exportable", true}});
  EXPECT_EQ(outcome_of(server_->uri("open")), "unsupported");
  server_->api("transit/keys/backed", {{"derived", true}, {"allow_plaintext_backup", true}});
  EXPECT_EQ(outcome_of(server_->uri("backed")), "unsupported");
}

TEST_F(VaultMaster, UrisThatCannotBe) {
  const std::string base = "hcvault://" + server_->host();
  for (const std::string& uri : {std::string("hcvault://"),
                                 base,
                                 base + "/",
                                 base + "/transit",
                                 base + "/transit/keys/",
                                 base + "/keys/master",
                                 base + "//keys/master",
                                 base + "/transit/keys/a/b",
                                 base + "/../keys/master",
                                 base + "/transit/keys/..",
                                 base + "/transit/keys/a%2fb",
                                 base + "/transit/keys/a b",
                                 base + "/transit/keys/master?",
                                 base + "/transit/keys/m?x=y",
                                 base + "/transit/keys/master?namespace=",
                                 base + "/transit/keys/master?namespace=a/../b",
                                 base + "/transit/keys/master?namespace=a&x=y",
                                 base + "/transit/keys/master#x",
                                 std::string("hcvault://127.0.0.1:0/transit/keys/master"),
                                 std::string("hcvault://127.0.0.1:99999/transit/keys/master"),
                                 std::string("hcvault://127.0.0.1:/transit/keys/master"),
                                 std::string("hcvault://:8200/transit/keys/master"),
                                 std::string("hcvault://[::1/transit/keys/master"),
                                 std::string("hcvault://user:7531@127.0.0.1/transit/keys/master"),
                                 base + "/transit/keys/master?token=7531"}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
    EXPECT_EQ(words_of(uri).find("7531"), std::string::npos) << words_of(uri);
  }
}

/// Whoever alters a keystore would have the node's token brought to him.
TEST_F(VaultMaster, OnlyTheNodesOwnVaultIsAsked) {
  MasterKeyRecord record = open()->describe();
  server_->seen("");
  for (const char* const address : {"https://vault.example.com", "https://127.0.0.1:1",
                                    "https://127.0.0.1", "127.0.0.1", "ftp://127.0.0.1", "https://",
                                    "https://127.0.0.1:1/path", "https://user@127.0.0.1:1", ""}) {
    set_variable("VAULT_ADDR", address);
    EXPECT_EQ(reopened(record), "key-unavailable") << address;
    EXPECT_EQ(outcome(), "key-unavailable") << address;
  }
  EXPECT_EQ(server_->seen(""), 0U);
  set_variable("VAULT_ADDR", "https://" + server_->host() + "/");
  EXPECT_EQ(reopened(record), "ok");
  record.uri = "hcvault://LOCALHOST" + server_->host().substr(9) + "/transit/keys/master";
  EXPECT_EQ(reopened(record), "key-unavailable") << "another name is another host";
  set_variable("VAULT_ADDR", "https://localhost" + server_->host().substr(9));
  EXPECT_EQ(reopened(record), "ok");
}

TEST_F(VaultMaster, PlainTextIsForLoopback) {
  server_->restart({"--plain"});
  EXPECT_EQ(outcome(), "kms-unavailable");
  set_variable("VAULT_ADDR", "http://" + server_->host());
  EXPECT_EQ(outcome(), "ok");
  set_variable("VAULT_ADDR", "http://192.0.2.1:8200");
  EXPECT_EQ(outcome_of("hcvault://192.0.2.1/transit/keys/master"), "invalid");
}

TEST_F(VaultMaster, WhatCertificatesSay) {
  set_variable("VAULT_CACERT", server_->file("another-ca.pem"));
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words_of(server_->uri()).find("does not verify"), std::string::npos);
  set_variable("VAULT_CACERT", server_->file("nothing.pem"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("VAULT_CACERT", server_->file("ca.pem"));
  set_variable("COFFER_VAULT_PIN_SHA256", server_->pin());
  EXPECT_EQ(outcome(), "ok");
  set_variable("COFFER_VAULT_PIN_SHA256", "A" + server_->pin().substr(1));
  EXPECT_EQ(outcome(), server_->pin()[0] == 'A' ? "ok" : "kms-unavailable");
}

TEST_F(VaultMaster, EachErrorHasItsCause) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const std::pair<const char*, const char*> known[] = {
      {"status:400:encryption key not found", "kms-key-missing"},
      {"status:400:cipher: message authentication failed", "corrupt"},
      {"status:500:cipher: message authentication failed", "corrupt"},
      {"status:400:invalid ciphertext: version is too new", "corrupt"},
      {"status:400:ciphertext or signature version is disallowed by policy (too old)",
       "kms-key-disabled"},
      {"status:400:something else", "kms-unavailable"},
      {"status:404:no handler for route", "kms-key-missing"},
      {"status:412:required index state not present", "kms-unavailable"},
      {"status:502", "kms-unavailable"},
      {"status:503:Vault is sealed", "kms-unavailable"},
      {"status:204", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:<html>", "kms-unavailable"},
      {"body:{\"data\":{\"plain", "kms-unavailable"},
      {"body:[]", "kms-unavailable"},
      {"body:{\"data\":null}", "kms-unavailable"},
      {"body:{\"data\":{\"plaintext\":1}}", "kms-unavailable"},
      {"body:{\"data\":{\"plaintext\":\"***\"}}", "kms-unavailable"},
      {"body:{\"plaintext\":\"AAAA\"}", "kms-unavailable"},
      {"body:{\"data\":{\"plaintext\":\"AAAA\"}}", "corrupt"},
      {"close", "kms-unavailable"},
      {"long", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    SCOPED_TRACE(kind);
    // One that is closed while idle is tried again on a new connection.
    server_->trouble(kind, "/decrypt/", kind == std::string_view("close") ? 2 : 1);
    EXPECT_EQ(unwrapped(*master, wrapped), code);
    EXPECT_EQ(unwrapped(*master, wrapped), "ok") << "it was the trouble's";
  }
  for (const char* const answer :
       {"body:", "body:{\"data\":{}}", "body:{\"data\":{\"ciphertext\":1}}",
        "body:{\"data\":{\"ciphertext\":\"vault:v1:AAAA\"}}", "half"}) {
    server_->trouble(answer, "/encrypt/");
    EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsUnavailable) << answer;
  }
  for (const char* const answer :
       {"body:", "body:[]", "body:{\"data\":{}}", "body:{\"data\":{\"type\":1}}",
        "body:{\"data\":{\"type\":\"aes256-gcm96\",\"derived\":true,\"latest_version\":1,\"keys\":{"
        "}}}"}) {
    server_->trouble(answer, "/keys/");
    EXPECT_EQ(outcome(), "kms-unavailable") << answer;
  }
  server_->api("sys/seal");
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable");
  server_->api("sys/unseal");
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
}

TEST_F(VaultMaster, ManyKeysByOneCall) {
  const auto master = open();
  std::vector<SecretBytes> keys;
  std::vector<KeyInPlace> placed;
  for (std::uint32_t i = 0; i < 100; ++i) keys.push_back(SecretBytes::random(32));
  for (std::uint32_t i = 0; i < 100; ++i) {
    placed.push_back({&keys[i], {}});
    placed.back().context.version = KeyVersion{i};
  }
  server_->seen("");
  const auto wrapped = master->wrap_all(placed);
  ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
  EXPECT_EQ(server_->seen("/encrypt/"), 1U);
  ASSERT_EQ(wrapped->size(), 100U);
  for (std::size_t i = 0; i < 100; ++i) {
    const auto key = master->unwrap((*wrapped)[i], placed[i].context);
    ASSERT_TRUE(key.ok()) << key.error().message();
    EXPECT_TRUE(constant_time_equal(key->expose(), keys[i].expose()));
  }
  for (const char* const answer :
       {"body:", "body:{\"data\":{\"batch_results\":[]}}",
        "body:{\"data\":{\"batch_results\":[{\"error\":\"no\"},{\"error\":\"no\"}]}}",
        "body:{\"data\":{\"batch_results\":[1,2]}}"}) {
    server_->trouble(answer, "/encrypt/");
    const auto none = master->wrap_all(std::span(placed).first(2));
    ASSERT_FALSE(none.ok()) << answer;
    EXPECT_EQ(none.error().code, Code::kKmsUnavailable) << answer;
  }
  const SecretBytes small(16);
  EXPECT_EQ(master->wrap_all(std::vector<KeyInPlace>{{&small, {}}}).error().code, Code::kInvalid);
}

TEST_F(VaultMaster, WhatVaultTellsOfItself) {
  set_variable("VAULT_TOKEN", server_->token("node"));
  const auto facts = open()->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(fact(*facts, "connection"), "TLSv1.3");
  EXPECT_EQ(fact(*facts, "its public key"), server_->pin() + " (SHA-256)");
  const std::string said = facts_of_the_key(*facts);
  EXPECT_EQ(said,
            "key type=aes256-gcm96;newest version=1;oldest version in use=1;we are=token;"
            "policies=[\"default\",\"node\"];");
}

TEST_F(VaultMaster, ANamespace) {
  server_->api("sys/mounts/transit", {{"type", "transit"}}, "POST", "team/a");
  server_->api("transit/keys/inner", {{"derived", true}}, "POST", "team/a");
  EXPECT_EQ(outcome_of(server_->uri("inner")), "kms-key-missing");
  EXPECT_EQ(outcome_of(server_->uri("inner") + "?namespace=team/a"), "ok");
  set_variable("VAULT_NAMESPACE", "team/a");
  EXPECT_EQ(outcome_of(server_->uri("inner")), "ok");
  EXPECT_EQ(outcome(), "kms-key-missing");
}

}  // namespace
}  // namespace coffer
