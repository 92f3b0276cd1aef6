// The provider for Azure Key Vault and Managed HSM against the stand-in.

#include "keystore/kms/azure_kms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

#include "keystore/crypto/box.h"
#include "keystore/crypto/digest.h"
#include "tests/unit/keystore/kms/azure_test.h"
#include "tests/unit/keystore/kms/kms_facts.h"

namespace coffer {
namespace {

using testing::AzureServer;
using testing::fact;
using testing::facts_of_the_key;

KmsProvider azure_provider(const std::string& name, const std::string& host,
                           const std::string& kty) {
  return {name,
          [host, kty] {
            const auto server = std::make_shared<AzureServer>();
            if (host == AzureServer::kVault) {
              server->make_pair("second");
            } else {
              server->make_key("second", {{"kty", kty}}, host);
            }
            const auto make = [&](const std::string& key) {
              auto master = create_master(server->uri(key, host), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make("master"), make("second"), no_passphrase, no_passphrase, server};
          },
          testing::have_transit_server};
}

INSTANTIATE_TEST_SUITE_P(Azure, MasterKmsContract,
                         ::testing::Values(azure_provider("AzureVault", AzureServer::kVault, "RSA"),
                                           azure_provider("AzureHsm", AzureServer::kHsm,
                                                          "oct-HSM")),
                         kms_provider_name);

class AzureMaster : public AzureTest {
 protected:
  /// As Azure shows it to whoever may get the key.
  [[nodiscard]] RsaPublicKey public_half() {
    const std::string shown = server_->api("master", {}, "GET").dump();
    return *AzureKey::from(as_bytes(shown), *AzureKeyUri::parse(AzureServer::uri()))->rsa;
  }
  /// By somebody who may.
  [[nodiscard]] ByteVector signature_of(const std::string& key, Bytes statement) {
    const std::string digest = to_base64url(sha256(statement));
    return *from_base64url(server_->api(key + "//sign", {{"alg", "ES256"}, {"value", digest}})
                               .at("value")
                               .get<std::string>());
  }
};

TEST_F(AzureMaster, WhatIsOnRecord) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  EXPECT_EQ(record.uri, AzureServer::uri());
  ASSERT_EQ(record.version.size(), 65U);
  const std::string version = record.version.substr(0, 32);
  const std::string signer = record.version.substr(33);
  EXPECT_TRUE(is_azure_version(version) && is_azure_version(signer)) << record.version;
  EXPECT_EQ(record.params, "");
  const ByteVector wrapped = *master->wrap(key_, context_);
  EXPECT_EQ(wrapped.size(), 1U + 1 + 32 + 2 + 32 + 256 + 61 + 64);
  EXPECT_EQ(wrapped[0], 1);
  EXPECT_EQ(wrapped[1], 1);
  EXPECT_EQ(as_text(Bytes(wrapped).subspan(2, 32)), version);
  EXPECT_EQ(as_text(Bytes(wrapped).subspan(36, 32)), signer);
  EXPECT_EQ(master->version_of(wrapped), version);
  EXPECT_EQ(master->version_of({}), "");
  const auto hsm = open(AzureServer::kHsm);
  const ByteVector by_hsm = *hsm->wrap(key_, context_);
  EXPECT_EQ(by_hsm.size(), 1U + 1 + 32 + 12 + 16 + 32);
  EXPECT_EQ(by_hsm[1], 2);
  EXPECT_EQ(hsm->version_of(by_hsm), hsm->describe().version);
  EXPECT_EQ(unwrapped(*master, by_hsm), "corrupt") << "of another kind";
  EXPECT_EQ(unwrapped(*hsm, wrapped), "corrupt");
}

TEST_F(AzureMaster, WhatIsSent) {
  const auto vault = open();
  const auto hsm = open(AzureServer::kHsm);
  const ByteVector wrapped = *vault->wrap(key_, context_);
  const ByteVector by_hsm = *hsm->wrap(key_, context_);
  server_->seen("");
  ASSERT_EQ(unwrapped(*vault, wrapped), "ok");
  ASSERT_EQ(unwrapped(*hsm, by_hsm), "ok");
  const auto requests = server_->requests("/keys/");
  ASSERT_EQ(requests.size(), 3U);
  const std::string versions = vault->describe().version;
  EXPECT_EQ(requests[0].at("host"), AzureServer::kVault);
  EXPECT_EQ(requests[0].at("path"),
            "/keys/master-signer/" + versions.substr(33) + "?api-version=7.4")
      << "for its public half";
  EXPECT_EQ(requests[1].at("path"),
            "/keys/master/" + versions.substr(0, 32) + "/unwrapkey?api-version=7.4");
  EXPECT_EQ(requests[2].at("host"), AzureServer::kHsm);
  const auto opening = nlohmann::json::parse(requests[2].at("body").get<std::string>());
  const auto aad = from_base64url(opening.at("aad").get<std::string>());
  ASSERT_TRUE(aad.ok());
  EXPECT_TRUE(equal(*aad, context_.encode()));
  ASSERT_EQ(unwrapped(*vault, *vault->wrap(key_, context_)), "ok");
  EXPECT_EQ(server_->seen("/keys/"), 4U) << "which are the newest, a signature, and to unwrap";
}

TEST_F(AzureMaster, RotationAtAzureChangesNothing) {
  for (const char* const host : {AzureServer::kVault, AzureServer::kHsm}) {
    SCOPED_TRACE(host);
    const auto master = open(host);
    const MasterKeyRecord record = master->describe();
    const ByteVector first = *master->wrap(key_, context_);
    const std::string old = *master->newest_version();
    const std::string next = server_->make_key(
        "master", {{"kty", host == std::string(AzureServer::kHsm) ? "oct-HSM" : "RSA"}}, host);
    EXPECT_EQ(*master->newest_version(), next);
    const ByteVector second = *master->wrap(key_, context_);
    EXPECT_EQ(master->version_of(second), next);
    EXPECT_EQ(reopened(record), "ok");
    EXPECT_EQ(unwrapped(*master, first), "ok");
    EXPECT_EQ(unwrapped(*master, second), "ok");
    const auto anew = master->rewrap(first, context_);
    ASSERT_TRUE(anew.ok()) << anew.error().message();
    EXPECT_EQ(master->version_of(*anew), next);
    EXPECT_EQ(unwrapped(*master, *anew), "ok");
    // One version is disabled; what others wrapped is still to be had.
    server_->set_attributes(old, {{"enabled", false}}, host);
    EXPECT_EQ(unwrapped(*master, first), "kms-key-disabled");
    EXPECT_EQ(unwrapped(*master, second), "ok");
    EXPECT_EQ(reopened(record), "ok");
    server_->set_attributes(old, {{"enabled", true}}, host);
    EXPECT_EQ(unwrapped(*master, first), "ok");
  }
}

/// Azure itself wraps by a disabled version, and would not unwrap that.
TEST_F(AzureMaster, ANewestVersionThatMayNotBeUsed) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const std::string version = record.version.substr(0, 32);
  server_->set_attributes(version, {{"enabled", false}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "kms-key-disabled");
  EXPECT_EQ(server_->seen("/sign"), 0U);
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-key-disabled");
  EXPECT_EQ(outcome(), "kms-key-disabled") << "no store is begun on it";
  EXPECT_EQ(reopened(record), "ok");
  server_->set_attributes(version, {{"enabled", true}, {"exp", 1'000'000'000}});
  EXPECT_EQ(wrapping(*master), "kms-key-disabled");
  EXPECT_EQ(unwrapped(*master, wrapped), "ok") << "Azure unwraps by one that has expired";
  const std::time_t now = std::time(nullptr);
  server_->set_attributes(version, {{"exp", nullptr}, {"nbf", now + 4000}});
  EXPECT_EQ(wrapping(*master), "kms-key-disabled");
  EXPECT_EQ(outcome(), "kms-key-disabled");
  server_->set_attributes(version, {{"nbf", now + 100}});
  EXPECT_EQ(wrapping(*master), "ok") << "clocks differ";
  server_->set_attributes(version, {{"nbf", nullptr}});
  EXPECT_EQ(wrapping(*master), "ok");
}

/// What admins take from a key bites, and what they leave goes on.
TEST_F(AzureMaster, OperationsThatAreTakenFromAKey) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const auto leave = [this](const std::string& key, const std::vector<std::string>& operations) {
    server_->api(key, {{"key_ops", operations}}, "PATCH");
  };
  leave("master", {"verify"});
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-denied");
  EXPECT_EQ(wrapping(*master), "kms-key-disabled");
  EXPECT_EQ(outcome(), "unsupported") << "no store is begun on it";
  leave("master", {"unwrapKey"});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(wrapping(*master), "ok");
  leave("master-signer", {"verify"});
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(wrapping(*master), "kms-key-disabled");
  EXPECT_EQ(outcome(), "unsupported");
  leave("master-signer", {"sign"});
  EXPECT_EQ(wrapping(*master), "ok");
  server_->make_key("master", {{"kty", "EC"}});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(wrapping(*master), "kms-key-disabled") << "by the newest version";
  EXPECT_EQ(reopened(record), "ok");
}

TEST_F(AzureMaster, KeysThatAreNone) {
  EXPECT_EQ(outcome_of(AzureServer::uri("nothing")), "kms-key-missing");
  server_->make_key("signs", {{"kty", "RSA"}, {"key_ops", {"sign", "verify"}}});
  EXPECT_NE(words_of(AzureServer::uri("signs")).find("--ops unwrapKey"), std::string::npos);
  server_->make_key("alone");
  EXPECT_EQ(outcome_of(AzureServer::uri("alone")), "kms-key-missing");
  EXPECT_NE(words_of(AzureServer::uri("alone")).find("alone-signer"), std::string::npos);
  server_->make_key("alone-signer");
  EXPECT_EQ(outcome_of(AzureServer::uri("alone")), "unsupported") << "an RSA key";
  EXPECT_NE(words_of(AzureServer::uri("alone")).find("--curve P-256"), std::string::npos);
  server_->make_key("short", {{"kty", "oct-HSM"}, {"key_size", 128}}, AzureServer::kHsm);
  const auto short_one =
      create_azure_master(AzureServer::uri("short", AzureServer::kHsm), no_passphrase);
  ASSERT_TRUE(short_one.ok()) << "Azure does not tell its length";
  EXPECT_EQ(wrapping(**short_one), "kms-key-disabled");
  server_->make_key("rsa", {{"kty", "RSA-HSM"}}, AzureServer::kHsm);
  EXPECT_EQ(outcome_of(AzureServer::uri("rsa", AzureServer::kHsm)), "unsupported");
  server_->make_key("hsm", {{"kty", "RSA-HSM"}, {"key_size", 3072}});
  server_->make_key("hsm-signer", {{"kty", "EC-HSM"}});
  const auto big = create_azure_master(AzureServer::uri("hsm"), no_passphrase);
  ASSERT_TRUE(big.ok()) << big.error().message();
  EXPECT_EQ((*big)->wrap(key_, context_)->size(), 1U + 1 + 32 + 2 + 32 + 384 + 61 + 64);
}

TEST_F(AzureMaster, AnotherKeyInItsPlace) {
  MasterKeyRecord record = open()->describe();
  server_->make_pair("other");
  record.uri = AzureServer::uri("other");
  EXPECT_EQ(reopened(record), "wrong-key");
  record.uri = AzureServer::uri();
  const std::string good = record.version;
  const std::string version = good.substr(0, 32);
  for (const std::string& odd :
       {std::string("x"), version, version + ":", ":" + version, good + "0", good + "/x",
        version + ":" + std::string(32, '0'), std::string(32, '0') + good.substr(32)}) {
    record.version = odd;
    EXPECT_EQ(reopened(record), "wrong-key") << odd;
  }
  record.version = "";
  EXPECT_EQ(reopened(record), "corrupt");
}

TEST_F(AzureMaster, KeysThatAreGoneOrMadeAnew) {
  for (const char* const key : {"master", "master-signer"}) {
    SCOPED_TRACE(key);
    const auto master = open();
    const MasterKeyRecord record = master->describe();
    const ByteVector old = *master->wrap(key_, context_);
    server_->make_key(key, {{"kty", key == std::string("master") ? "RSA" : "EC"}});
    const ByteVector wrapped = *master->wrap(key_, context_);
    server_->api(key, {}, "DELETE");
    EXPECT_EQ(reopened(record), "kms-key-missing");
    EXPECT_EQ(unwrapped(*master, wrapped), "kms-key-missing");
    EXPECT_EQ(unwrapped(*master, old), "kms-key-missing");
    EXPECT_EQ(wrapping(*master), "kms-key-missing");
    server_->make_key(key, {{"kty", key == std::string("master") ? "RSA" : "EC"}});
    EXPECT_EQ(reopened(record), "wrong-key") << "of the same name";
    EXPECT_EQ(unwrapped(*master, wrapped), "wrong-key");
    EXPECT_EQ(unwrapped(*master, old), "wrong-key");
  }
}

TEST_F(AzureMaster, AVersionThatIsAltered) {
  const auto master = open();
  const std::string old = *master->newest_version();
  const ByteVector first = *master->wrap(key_, context_);
  const std::string next = server_->make_key("master");
  ByteVector altered = first;
  std::ranges::copy(next, altered.begin() + 2);
  EXPECT_EQ(master->version_of(altered), next);
  EXPECT_EQ(unwrapped(*master, altered), "corrupt") << "of another version";
  std::ranges::fill_n(altered.begin() + 2, 32, std::uint8_t{'0'});
  EXPECT_EQ(unwrapped(*master, altered), "corrupt") << "of none";
  altered = first;
  altered[0] = 2;
  EXPECT_EQ(unwrapped(*master, altered), "unknown-version");
  server_->seen("");
  altered = first;
  altered[2] = 'A';
  EXPECT_EQ(unwrapped(*master, altered), "corrupt") << "in another spelling";
  EXPECT_EQ(server_->seen(""), 0U);
}

/// What RSA lets anybody do who knows the public half: seal a key of his own, with whatever
/// signature he has.
TEST_F(AzureMaster, KeysThatNobodyHasSigned) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const auto good = *AzureWrapped::parse(wrapped);
  const RsaPublicKey half = public_half();
  const SecretBytes inner = SecretBytes::random(32);
  const ByteVector sealed = half.seal(inner);
  const ByteVector box = seal_box(inner.expose(), context_.encode(), key_.expose());
  AzureWrapped forged = good;
  forged.sealed = sealed;
  forged.box = box;
  server_->seen("");
  const auto with_signature = [&](const ByteVector& signature) {
    forged.signature = signature;
    return unwrapped(*master, forged.encode());
  };
  EXPECT_EQ(with_signature({good.signature.begin(), good.signature.end()}), "corrupt");
  EXPECT_EQ(with_signature(ByteVector(64)), "corrupt");
  EXPECT_EQ(with_signature(ByteVector(64, 1)), "corrupt");
  server_->make_key("other", {{"kty", "EC"}});
  EXPECT_EQ(with_signature(signature_of("other", forged.statement(context_))), "corrupt");
  KeyContext elsewhere = context_;
  elsewhere.scope = ScopeId{9};
  EXPECT_EQ(with_signature(signature_of("master-signer", forged.statement(elsewhere))), "corrupt");
  EXPECT_EQ(server_->seen("/unwrapkey"), 0U) << "Azure is not even asked";
  EXPECT_EQ(with_signature(signature_of("master-signer", forged.statement(context_))), "ok")
      << "the signature is what was wrong";
}

TEST_F(AzureMaster, AnInnerKeyThatIsNone) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const RsaPublicKey half = public_half();
  for (const std::size_t size : {1U, 16U, 31U, 33U, 64U}) {
    AzureWrapped parts = *AzureWrapped::parse(wrapped);
    const ByteVector sealed = half.seal(SecretBytes::random(size));
    parts.sealed = sealed;
    const ByteVector signature = signature_of("master-signer", parts.statement(context_));
    parts.signature = signature;
    EXPECT_EQ(unwrapped(*master, parts.encode()), "kms-unavailable") << size << ": it was signed";
  }
}

TEST_F(AzureMaster, WhatAzureTellsOfItself) {
  const std::string version = server_->make_key(
      "master",
      {{"kty", "RSA-HSM"}, {"attributes", {{"created", 1'600'000'000}, {"exp", 4'000'000'000}}}});
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const auto facts = master->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(fact(*facts, "connection"), "TLSv1.3");
  EXPECT_EQ(fact(*facts, "its public key"), server_->pin() + " (SHA-256)");
  const std::string said = facts_of_the_key(*facts);
  EXPECT_EQ(said, "newest version=" + version +
                      ";its state=enabled;key type=RSA-HSM;made at=2020-09-13T12:26:40Z;expires="
                      "2096-10-02T07:06:40Z;key that signs=master-signer;its newest version=" +
                      record.version.substr(33) + ";its state=enabled;we are=client " +
                      AzureServer::kNode + " of tenant " + server_->tenant() + ";");
}

TEST_F(AzureMaster, ANodeThatMayOnlyRead) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  server_->allow(AzureServer::kNode, nlohmann::json::array({"get", "unwrapKey"}));
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(wrapping(*master), "kms-denied");
  server_->allow(AzureServer::kNode, nlohmann::json::array({"unwrapKey"}));
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words_of(AzureServer::uri()).find("AZURE.md"), std::string::npos);
}

TEST_F(AzureMaster, AnOutageAndItsEnd) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  server_->stop();
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable");
  server_->restart();
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
}

}  // namespace
}  // namespace coffer
