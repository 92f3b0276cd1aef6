// How a node gets, keeps and loses a token of Vault's.

#include "keystore/kms/vault_session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/master_kms.h"
#include "keystore/kms/vault_kms.h"
#include "tests/support/privileges.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::set_variable;
using testing::TransitServer;

class VaultLogin : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
    server_->set_up_transit();
  }
  [[nodiscard]] std::unique_ptr<MasterKms> open() const {
    auto master = create_vault_master(server_->uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] std::string outcome() const {
    const auto master = create_master(server_->uri(), no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string words() const {
    const auto master = create_master(server_->uri(), no_passphrase);
    return master ? "ok" : master.error().message();
  }
  [[nodiscard]] std::string wrapping(MasterKms& master) const {
    const auto wrapped = master.wrap(key_, {});
    return wrapped ? "ok" : std::string(to_string(wrapped.error().code));
  }
  void use_token_file(const std::string& token, unsigned mode = 0600) {
    set_variable("VAULT_TOKEN", "");
    set_variable("COFFER_VAULT_TOKEN_FILE", server_->write("token", token, mode));
  }

  std::optional<TransitServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
};

TEST_F(VaultLogin, ATokenOfTheEnvironment) {
  set_variable("VAULT_TOKEN", server_->token("node"));
  EXPECT_EQ(outcome(), "ok");
  set_variable("VAULT_TOKEN", server_->token("default"));
  EXPECT_EQ(outcome(), "kms-denied");
  set_variable("VAULT_TOKEN", "hvs.nobodys");
  EXPECT_EQ(outcome(), "kms-denied");
  set_variable("VAULT_TOKEN", "two words");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("VAULT_TOKEN", "");
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(VaultLogin, ATokenThatRunsOut) {
  set_variable("VAULT_TOKEN", server_->token("node", 3600));
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied");
}

TEST_F(VaultLogin, ATokenFileIsPrivateAndReadAnew) {
  use_token_file(server_->token("node", 3600) + "\n");
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied") << "the file holds the old one";
  use_token_file(server_->token("node", 3600));
  EXPECT_EQ(wrapping(*master), "ok");
  use_token_file(server_->token("node"), 0644);
  EXPECT_EQ(outcome(), "key-unavailable");
  use_token_file("");
  EXPECT_EQ(outcome(), "key-unavailable");
  use_token_file("a\"b");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_VAULT_TOKEN_FILE", server_->file("nothing"));
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(VaultLogin, ByAppRole) {
  server_->use_approle(3600);
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("auth/approle/login"), 1U) << "one token for all calls";
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("auth/approle/login"), 1U) << "one login more";
  server_->write("secret-id", "another");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words().find("invalid secret id"), std::string::npos) << words();
  EXPECT_EQ(words().find("another"), std::string::npos);
  set_variable("COFFER_VAULT_ROLE", "nobody");
  EXPECT_EQ(outcome(), "kms-denied");
  set_variable("COFFER_VAULT_ROLE", "");
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(VaultLogin, ARefusalCostsNoLoginEachTime) {
  server_->use_approle(3600);
  const auto master = open();
  server_->api("sys/policies/acl/node",
               {{"policy", "path \"transit/keys/*\" { capabilities = [\"read\"] }"}});
  server_->seen("");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen("auth/approle/login"), 1U);
}

TEST_F(VaultLogin, ALoginThatIsNotAnswered) {
  server_->use_approle(3600);
  for (const char* const kind :
       {"status:503:Vault is sealed", "status:429", "half", "close", "redirect", "body:", "body:{}",
        "body:{\"auth\":null}", "body:{\"auth\":{\"client_token\":\"\"}}",
        "body:{\"client_token\":\"hvs.x\"}"}) {
    server_->trouble(kind, "auth/approle/login");
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
  }
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(VaultLogin, ATokenIsRenewedInHalfOfItsTime) {
  server_->use_approle(2, 1);
  const auto master = open();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  // The secret id is good for one login: whoever does not renew is refused.
  std::size_t renewals = 0;
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_EQ(wrapping(*master), "ok");
    renewals += server_->seen("auth/token/renew-self");
    ::usleep(50'000);
  }
  EXPECT_GE(renewals, 1U);
}

/// A token that was handed to us can be had only once.
TEST_F(VaultLogin, ARenewalThatIsNotAnsweredIsTriedAgain) {
  set_variable("VAULT_TOKEN", server_->token("node", 2));
  const auto master = open();
  server_->trouble("status:503:Vault is sealed", "auth/token/renew-self");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_EQ(wrapping(*master), "ok");
    ::usleep(50'000);
  }
}

TEST_F(VaultLogin, ByJwt) {
  server_->api("sys/auth/jwt", {{"type", "jwt"}});
  server_->api("auth/jwt/role/node", {{"bound_subject", "n1"}, {"token_policies", {"node"}}});
  set_variable("VAULT_TOKEN", "");
  set_variable("COFFER_VAULT_AUTH", "jwt");
  set_variable("COFFER_VAULT_ROLE", "node");
  EXPECT_EQ(outcome(), "key-unavailable") << "no file";
  const auto use_jwt_of = [this](const std::string& subject, int ttl = 600) {
    const std::string jwt = server_->ask({{"do", "jwt"}, {"subject", subject}, {"ttl", ttl}});
    set_variable("COFFER_VAULT_JWT_FILE", server_->write("jwt", jwt + "\n", 0644));
  };
  use_jwt_of("n1");
  EXPECT_EQ(outcome(), "ok");
  use_jwt_of("n2");
  EXPECT_EQ(outcome(), "kms-denied");
  use_jwt_of("n1", -1);
  EXPECT_EQ(outcome(), "kms-denied");
}

TEST_F(VaultLogin, ByKubernetes) {
  server_->api("sys/auth/cluster", {{"type", "kubernetes"}});
  server_->api("auth/cluster/role/pods", {{"bound_service_account_names", {"coffer"}},
                                          {"bound_service_account_namespaces", {"models"}},
                                          {"policies", {"node"}}});
  set_variable("VAULT_TOKEN", "");
  set_variable("COFFER_VAULT_AUTH", "kubernetes");
  set_variable("COFFER_VAULT_AUTH_MOUNT", "cluster");
  set_variable("COFFER_VAULT_ROLE", "pods");
  const auto use_account = [this](const std::string& account) {
    const std::string jwt =
        server_->ask({{"do", "jwt"}, {"subject", "system:serviceaccount:models:" + account}});
    set_variable("COFFER_VAULT_JWT_FILE", server_->write("jwt", jwt, 0644));
  };
  use_account("coffer");
  EXPECT_EQ(outcome(), "ok");
  use_account("other");
  EXPECT_EQ(outcome(), "kms-denied");
}

TEST_F(VaultLogin, ByCertificate) {
  const auto pem = read_small_file(server_->file("client.pem"), 10'000);
  ASSERT_TRUE(pem.ok());
  server_->api("sys/auth/cert", {{"type", "cert"}});
  server_->api("auth/cert/certs/node",
               {{"certificate", std::string(as_text(*pem))}, {"token_policies", {"node"}}});
  set_variable("VAULT_TOKEN", "");
  set_variable("COFFER_VAULT_AUTH", "cert");
  set_variable("COFFER_VAULT_ROLE", "node");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("VAULT_CLIENT_CERT", server_->file("client.pem"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("VAULT_CLIENT_KEY", server_->file("client.key"));
  EXPECT_EQ(outcome(), "ok");
  set_variable("VAULT_CLIENT_CERT", server_->file("good.pem"));
  set_variable("VAULT_CLIENT_KEY", server_->file("good.key"));
  EXPECT_EQ(outcome(), "kms-denied");
}

TEST_F(VaultLogin, TheNodesFile) {
  const std::string address = testing::environment("VAULT_ADDR");
  const std::string text = "# of this node\n\nVAULT_ADDR = " + address +
                           "\nVAULT_CACERT=" + server_->file("ca.pem") + "\n";
  const auto use = [this](const std::string& content, unsigned mode = 0644) {
    set_variable("COFFER_VAULT_CONFIG", server_->write("vault.conf", content, mode));
  };
  set_variable("VAULT_ADDR", "");
  set_variable("VAULT_CACERT", "");
  use(text);
  EXPECT_EQ(outcome(), "ok");
  for (const unsigned mode : {0664U, 0646U, 0666U}) {
    use(text, mode);
    EXPECT_EQ(outcome(), "key-unavailable") << mode;
  }
  use(text + "VAULT_TOKEN=7531\n");
  EXPECT_EQ(outcome(), "key-unavailable") << "a token has a file of its own";
  EXPECT_EQ(words().find("7531"), std::string::npos);
  use(text + "colour=red\n");
  EXPECT_EQ(outcome(), "key-unavailable");
  use(text + "VAULT_ADDR=" + address + "\n");
  EXPECT_EQ(outcome(), "key-unavailable") << "which of the two?";
  use(text);
  set_variable("VAULT_ADDR", "https://vault.example.com");
  EXPECT_EQ(outcome(), "key-unavailable") << "the environment comes first";
  set_variable("COFFER_VAULT_CONFIG", server_->file("nothing"));
  set_variable("VAULT_ADDR", address);
  EXPECT_EQ(outcome(), "key-unavailable") << "one that is named has to be there";
}

TEST_F(VaultLogin, TheNodesFileIsNoOtherUsers) {
  if (!testing::is_root()) COFFER_SKIP("only root can give a file away");
  const std::string path = server_->write("vault.conf", "");
  ASSERT_EQ(::chown(path.c_str(), 1234, 1234), 0);
  set_variable("COFFER_VAULT_CONFIG", path);
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(VaultLogin, SettingsThatAreNone) {
  set_variable("COFFER_VAULT_AUTH", "magic");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_VAULT_AUTH", "kubernetes");
  EXPECT_EQ(outcome(), "key-unavailable") << "no role";
}

}  // namespace
}  // namespace coffer
