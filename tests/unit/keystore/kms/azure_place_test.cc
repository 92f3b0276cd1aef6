// Where a key of Azure's may be, and who is believed to be Azure.

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/keystore/kms/azure_test.h"

namespace coffer {
namespace {

using testing::AzureServer;
using testing::set_variable;

using AzurePlaces = AzureTest;

TEST_F(AzurePlaces, UrisThatCannotBe) {
  const std::string good = AzureServer::uri();
  for (const std::string& uri : {std::string("azure-kms://"),
                                 std::string("azure-kms:v-1.vault.azure.net/keys/k"),
                                 std::string("azure-kms://v-1.vault.azure.net"),
                                 std::string("azure-kms://v-1.vault.azure.net/keys/"),
                                 std::string("azure-kms://v-1.vault.azure.net/secrets/k"),
                                 std::string("azure-kms:///keys/k"),
                                 std::string("azure-kms://V-1.vault.azure.net/keys/k"),
                                 std::string("azure-kms://v-1.vault.azure.net:443/keys/k"),
                                 std::string("azure-kms://v-1.vault.azure.net./keys/k"),
                                 std::string("azure-kms://vault.azure.net/keys/k"),
                                 std::string("azure-kms://a.v-1.vault.azure.net/keys/k"),
                                 std::string("azure-kms://v-1.vault.azure.net.evil.example/keys/k"),
                                 std::string("azure-kms://v-1xvault.azure.net/keys/k"),
                                 std::string("azure-kms://evil.example/v-1.vault.azure.net/keys/k"),
                                 std::string("azure-kms://evil.example#v-1.vault.azure.net/keys/k"),
                                 std::string("azure-kms://v-1.vault.azure.net/keys/../k"),
                                 std::string("azure-kms://v-1.vault.azure.net/keys/k_1"),
                                 std::string("azure-kms://v-1.vault.azure.net//keys/k"),
                                 good + "/",
                                 good + "/7531",
                                 good + "/0123456789abcdef0123456789abcdef",
                                 good + "?key=7531",
                                 good + "#7531",
                                 good + "\n",
                                 good + std::string(127, 'k'),
                                 "azure-kms://user:7531@" + good.substr(12)}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
    EXPECT_EQ(words_of(uri).find("7531"), std::string::npos) << words_of(uri);
  }
  EXPECT_EQ(server_->seen(""), 0U);
  for (const char* const host :
       {"abc.vault.azure.cn", "abc.vault.usgovcloudapi.net", "abc.managedhsm.azure.cn"})
    EXPECT_TRUE(AzureKeyUri::parse(std::string("azure-kms://") + host + "/keys/A-1").ok()) << host;
}

/// Whoever alters a keystore does not choose who is brought the node's tokens.
TEST_F(AzurePlaces, ANodeNamesTheVaultsThatItUses) {
  MasterKeyRecord record = open()->describe();
  server_->seen("");
  for (const char* const vaults :
       {"", "v-2.vault.azure.net", "v-2.vault.azure.net,abc.vault.azure.cn"}) {
    set_variable("COFFER_AZURE_KEYS", vaults);
    EXPECT_EQ(reopened(record), "key-unavailable") << vaults;
    EXPECT_NE(words_of(record.uri).find("COFFER_AZURE_KEYS"), std::string::npos);
  }
  for (const char* const vaults :
       {"evil.example", "*.vault.azure.net", "vault.azure.net", "https://v-1.vault.azure.net",
        "V-1.vault.azure.net", "v-1.vault.azure.net/", "v-1.vault.azure.net/keys/",
        "v-1.vault.azure.net/keys/master/0"}) {
    set_variable("COFFER_AZURE_KEYS", vaults);
    EXPECT_EQ(reopened(record), "key-unavailable") << vaults;
  }
  set_variable("COFFER_AZURE_KEYS", AzureServer::kVault);
  record.uri = "azure-kms://evil-vault.vault.azure.net/keys/master";
  EXPECT_EQ(reopened(record), "key-unavailable");
  EXPECT_EQ(server_->seen(""), 0U);
  record.uri = AzureServer::uri();
  EXPECT_EQ(reopened(record), "ok");
}

/// Nor whose key is used, where the node says which: the version on record stands beside the URI.
TEST_F(AzurePlaces, ANodeNamesTheVeryKey) {
  const MasterKeyRecord good = open()->describe();
  server_->make_pair("other");
  const MasterKeyRecord other =
      (*create_azure_master(AzureServer::uri("other"), no_passphrase))->describe();
  EXPECT_EQ(reopened(other), "ok") << "a vault stands for all its keys";
  set_variable("COFFER_AZURE_KEYS", "v-1.vault.azure.net/keys/Master h-1.managedhsm.azure.net");
  server_->seen("");
  EXPECT_EQ(reopened(other), "key-unavailable");
  EXPECT_EQ(server_->seen(""), 0U);
  EXPECT_EQ(reopened(good), "ok");
  EXPECT_EQ(outcome_of(AzureServer::uri("master", AzureServer::kHsm)), "ok");
}

TEST_F(AzurePlaces, WhatCertificatesSay) {
  set_variable("COFFER_AZURE_CA_FILE", server_->file("another-ca.pem"));
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words_of(AzureServer::uri()).find("does not verify"), std::string::npos);
  set_variable("COFFER_AZURE_CA_FILE", server_->file("nothing.pem"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_AZURE_CA_FILE", server_->file("ca.pem"));
  set_variable("COFFER_AZURE_PIN_SHA256", server_->pin());
  EXPECT_EQ(outcome(), "ok");
  const std::string other = (server_->pin()[0] == 'A' ? "B" : "A") + server_->pin().substr(1);
  set_variable("COFFER_AZURE_PIN_SHA256", other);
  EXPECT_EQ(outcome(), "kms-unavailable");
  set_variable("COFFER_AZURE_PIN_SHA256", "");
  server_->restart("other-host");
  EXPECT_EQ(outcome(), "kms-unavailable");
}

TEST_F(AzurePlaces, EndpointsThatCannotBe) {
  for (const char* const endpoint :
       {"127.0.0.1", "ftp://127.0.0.1", "https://", "https://127.0.0.1:1/path",
        "https://user@127.0.0.1:1", "https://127.0.0.1:0"}) {
    set_variable("COFFER_AZURE_ENDPOINT", endpoint);
    EXPECT_EQ(outcome(), "key-unavailable") << endpoint;
  }
  set_variable("COFFER_AZURE_ENDPOINT", "http://192.0.2.1");
  EXPECT_EQ(outcome(), "key-unavailable") << "plain text is for loopback";
  set_variable("COFFER_AZURE_ENDPOINT", server_->plain_url() + "/");
  EXPECT_EQ(outcome(), "ok");
}

}  // namespace
}  // namespace coffer
