// How a node shows Azure who it is.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/keystore/kms/azure_test.h"
#include "tests/unit/keystore/kms/kms_facts.h"

namespace coffer {
namespace {

using testing::AzureServer;
using testing::set_variable;

class AzureLogin : public AzureTest {
 protected:
  [[nodiscard]] static std::string we_are() {
    const auto facts = open()->inspect();
    return facts ? testing::fact(*facts, "we are") : "nobody";
  }
  void attach(const std::vector<std::string>& clients) {
    server_->ask({{"do", "attach"}, {"clients", clients}});
  }
};

TEST_F(AzureLogin, AClientSecret) {
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/oauth2/v2.0/token"), 1U) << "one token for all calls";
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/oauth2/"), 1U) << "one more";
  set_variable("AZURE_CLIENT_SECRET", "another-7531");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(words_of(AzureServer::uri()).find("7531"), std::string::npos)
      << words_of(AzureServer::uri());
  set_variable("AZURE_CLIENT_SECRET", AzureServer::kSecret);
  set_variable("AZURE_TENANT_ID", "another-tenant");
  EXPECT_EQ(outcome(), "kms-denied");
  for (const char* const tenant : {"", "../x", "a/b", "a b", ".."}) {
    set_variable("AZURE_TENANT_ID", tenant);
    EXPECT_EQ(outcome(), "key-unavailable") << tenant;
  }
}

TEST_F(AzureLogin, AClientSecretInAFile) {
  set_variable("AZURE_CLIENT_SECRET", "");
  const std::string secret = AzureServer::kSecret;
  const auto use = [this](const std::string& content, unsigned mode) {
    set_variable("COFFER_AZURE_CLIENT_SECRET_FILE", server_->write("secret", content, mode));
    return outcome();
  };
  EXPECT_EQ(use(secret, 0600), "ok");
  EXPECT_EQ(use(secret + "\n", 0600), "ok");
  for (const unsigned mode : {0640U, 0604U, 0644U}) EXPECT_EQ(use(secret, mode), "key-unavailable");
  EXPECT_EQ(use("two words", 0600), "key-unavailable");
  EXPECT_EQ(use("other", 0600), "kms-denied");
  const auto master = [&] {
    EXPECT_EQ(use(secret, 0600), "ok");
    return open();
  }();
  // Replaced under a daemon.
  server_->ask({{"do", "secret"}, {"client", AzureServer::kNode}, {"secret", "new-7531"}});
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied");
  server_->write("secret", "new-7531");
  EXPECT_EQ(wrapping(*master), "ok");
}

TEST_F(AzureLogin, WorkloadIdentity) {
  server_->use_federation("s1");
  EXPECT_EQ(outcome(), "kms-denied") << "nobody has let it in";
  server_->ask({{"do", "federate"}, {"subject", "s1"}, {"client", AzureServer::kNode}});
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_NE(we_are().find(AzureServer::kNode), std::string::npos);
  server_->use_federation("s1", -10);
  EXPECT_EQ(outcome(), "kms-denied");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied");
  server_->use_federation("s1");
  EXPECT_EQ(wrapping(*master), "ok") << "the file is read anew";
  set_variable("AZURE_FEDERATED_TOKEN_FILE", server_->file("none"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("AZURE_CLIENT_ID", "");
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(AzureLogin, TheIdentityOfAMachine) {
  server_->use_machine();
  EXPECT_EQ(we_are(), "the managed identity of this machine");
  EXPECT_EQ(server_->seen("/oauth2/v2.0"), 0U);
  const auto master = open();
  server_->ask({{"do", "expire"}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/metadata/identity/"), 1U);
  attach({"another", AzureServer::kNode});
  EXPECT_EQ(outcome(), "kms-denied");
  set_variable("AZURE_CLIENT_ID", AzureServer::kNode);
  EXPECT_EQ(outcome(), "ok") << "the one that is named";
  attach({});
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words_of(AzureServer::uri()).find("assign one"), std::string::npos)
      << words_of(AzureServer::uri());
}

TEST_F(AzureLogin, AMachinesEndpointThatIsNone) {
  server_->use_machine();
  for (const char* const kind :
       {"status:503", "status:429", "status:404", "half", "garbage", "close", "body:", "body:{}",
        "body:{\"access_token\":\"x\"}", "redirect", "long"}) {
    server_->trouble(kind, "/metadata/", 2);
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
    server_->calm();
  }
  EXPECT_EQ(outcome(), "ok");
  for (const char* const url : {"http://192.0.2.1", "http://169.254.169.254.example.com"}) {
    set_variable("AZURE_POD_IDENTITY_AUTHORITY_HOST", url);
    EXPECT_EQ(outcome(), "key-unavailable") << url;
  }
  set_variable("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words_of(AzureServer::uri()).find("AZURE_TENANT_ID"), std::string::npos);
}

/// App Service's says when a token runs out by its own clock alone.
TEST_F(AzureLogin, TheIdentityOfAnApp) {
  server_->use_identity_endpoint();
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/msi/token"), 1U);
  server_->ask({{"do", "clock"}, {"ahead", -7200}});
  const auto behind = open();
  server_->seen("");
  EXPECT_EQ(wrapping(*behind), "ok") << "by a token that seems to be over";
  EXPECT_EQ(server_->seen("/msi/token"), 3U) << "and is asked for anew for each request";
  set_variable("IDENTITY_HEADER", "another-7531");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(words_of(AzureServer::uri()).find("7531"), std::string::npos)
      << words_of(AzureServer::uri());
  set_variable("IDENTITY_HEADER", "");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("IDENTITY_HEADER", "a\r\nb");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("IDENTITY_HEADER", "a-hidden-header-7531");
  for (const char* const url : {"http://192.0.2.1/msi", "file:///etc/passwd", "http://127.0.0.1/?x",
                                "http://169.254.example.com/msi"}) {
    set_variable("IDENTITY_ENDPOINT", url);
    EXPECT_EQ(outcome(), "key-unavailable") << url;
  }
}

TEST_F(AzureLogin, WhatComesFirst) {
  server_->ask({{"do", "federate"}, {"subject", "s1"}, {"client", AzureServer::kNode}});
  const std::string tenant = server_->tenant();
  server_->use_identity_endpoint();
  server_->use_federation("s1");
  set_variable("AZURE_TENANT_ID", tenant);
  set_variable("AZURE_CLIENT_ID", AzureServer::kNode);
  server_->seen("");
  EXPECT_EQ(outcome(), "ok");
  EXPECT_EQ(server_->seen("/msi/"), 0U) << "a federated token before a managed identity";
  set_variable("AZURE_FEDERATED_TOKEN_FILE", server_->file("none"));
  set_variable("AZURE_CLIENT_SECRET", AzureServer::kSecret);
  set_variable("IDENTITY_HEADER", "");
  EXPECT_EQ(outcome(), "ok") << "a secret before a federated token, whatever identities there are";
  set_variable("AZURE_CLIENT_SECRET", "");
  set_variable("AZURE_CLIENT_CERTIFICATE_PATH", "/etc/hostname");
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words_of(AzureServer::uri()).find("not supported"), std::string::npos);
}

TEST_F(AzureLogin, ARefusalCostsNoLoginEachTime) {
  const auto master = open();
  server_->allow(AzureServer::kNode, nlohmann::json::array({"get"}));
  server_->seen("");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen("/oauth2/"), 0U);
  server_->allow(AzureServer::kNode);
  server_->trouble("refuse:401:Unauthorized::no", "/sign", 10);
  EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen("/oauth2/"), 1U) << "once, for a newer token may help";
  EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_LE(server_->seen("/oauth2/"), 1U);
  server_->calm();
  EXPECT_EQ(wrapping(*master), "ok");
}

TEST_F(AzureLogin, ALoginThatIsNotAnswered) {
  for (const char* const kind : {"status:503", "status:429:{}", "half", "close", "redirect",
                                 "body:", "body:{}", "long", "garbage", "status:400:<html>"}) {
    server_->trouble(kind, "/oauth2/", 2);
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
    server_->calm();
  }
  server_->trouble("echo:400", "/oauth2/");
  EXPECT_EQ(words_of(AzureServer::uri()).find("7531"), std::string::npos);
  EXPECT_EQ(outcome(), "ok");
  set_variable("AZURE_AUTHORITY_HOST", "http://192.0.2.1");
  EXPECT_EQ(outcome(), "key-unavailable") << "a secret goes nowhere in plain text";
}

TEST_F(AzureLogin, ManyAtOnceWhileTokensRunOut) {
  server_->ask({{"do", "lifetime"}, {"seconds", 2}});
  const auto master = open();
  server_->seen("");
  std::atomic<std::size_t> logins{0};
  std::atomic<int> failures{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (logins < 2 && std::chrono::steady_clock::now() < until) {
        if (wrapping(*master) != "ok") ++failures;
      }
    });
  }
  while (logins < 2 && std::chrono::steady_clock::now() < until) {
    logins += server_->seen("/oauth2/");
    ::usleep(20'000);
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GE(logins, 2U);
  EXPECT_EQ(failures, 0);
}

TEST_F(AzureLogin, TheNodesFile) {
  const std::string text = "# of this node\n\nCOFFER_AZURE_ENDPOINT = " + server_->url() +
                           "\nCOFFER_AZURE_CA_FILE=" + server_->file("ca.pem") +
                           "\nCOFFER_AZURE_KEYS=" + AzureServer::kVault +
                           "\nAZURE_TENANT_ID=" + server_->tenant() + "\n";
  const auto use = [this](const std::string& content, unsigned mode = 0644) {
    set_variable("COFFER_AZURE_CONFIG", server_->write("azure.conf", content, mode));
    return outcome();
  };
  for (const char* const name :
       {"COFFER_AZURE_ENDPOINT", "COFFER_AZURE_CA_FILE", "COFFER_AZURE_KEYS", "AZURE_TENANT_ID"})
    set_variable(name, "");
  EXPECT_EQ(use(text), "ok");
  for (const unsigned mode : {0664U, 0646U, 0666U}) EXPECT_EQ(use(text, mode), "key-unavailable");
  EXPECT_EQ(use(text + "colour=red\n"), "key-unavailable");
  EXPECT_EQ(use(text + "AZURE_CLIENT_SECRET=7531\n"), "key-unavailable") << "no place for one";
  EXPECT_EQ(words_of(AzureServer::uri()).find("7531"), std::string::npos);
  EXPECT_EQ(use(text), "ok");
  set_variable("COFFER_AZURE_ENDPOINT", "nowhere");
  EXPECT_EQ(outcome(), "key-unavailable") << "the environment comes first";
}

}  // namespace
}  // namespace coffer
