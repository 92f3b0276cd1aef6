// How a node shows Google who it is.

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/gcp_kms.h"
#include "tests/support/privileges.h"
#include "tests/unit/keystore/kms/gcp_server.h"
#include "tests/unit/keystore/kms/kms_facts.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::GcpServer;
using testing::set_variable;

class GcpLogin : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
  }
  [[nodiscard]] static std::unique_ptr<MasterKms> open() {
    auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] static std::string outcome() {
    const auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] static std::string words() {
    const auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    return master ? "ok" : master.error().message();
  }
  [[nodiscard]] std::string wrapping(MasterKms& master) const {
    const auto wrapped = master.wrap(key_, {});
    return wrapped ? "ok" : std::string(to_string(wrapped.error().code));
  }
  [[nodiscard]] static std::string we_are() {
    const auto facts = open()->inspect();
    const std::string name = facts ? testing::fact(*facts, "we are") : "";
    return name.empty() ? "nobody" : name;
  }
  nlohmann::json account() {
    return server_->ask({{"do", "service_account"}, {"email", GcpServer::kNode}});
  }
  /// Credentials in which one member is another, or none.
  void use_account_with(const nlohmann::json& account, const char* name,
                        const nlohmann::json& value) {
    auto changed = account;
    changed[name] = value;
    if (value.is_null()) changed.erase(name);
    server_->use_credentials(changed);
  }
  std::string jwt(const std::string& subject, int ttl = 600) {
    return server_->ask({{"do", "jwt"}, {"subject", subject}, {"ttl", ttl}});
  }
  void allow(const std::string& principal) {
    server_->ask({{"do", "allow"}, {"principal", principal}, {"resource", GcpServer::kRing}});
  }

  std::optional<GcpServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
};

TEST_F(GcpLogin, TheMetadataServer) {
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/token"), 1U) << "one token for all calls";
  EXPECT_EQ(we_are(), GcpServer::kNode);
  server_->ask({{"do", "expire"}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/token"), 1U) << "one more";
  server_->trouble("status:200:\x1b[2J", "/email");
  EXPECT_EQ(we_are(), "nobody");
  server_->trouble("body:\x1b[2J", "/email");
  EXPECT_EQ(we_are(), "nobody");
  server_->ask({{"do", "attach"}, {"email", ""}});
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words().find("attach one"), std::string::npos) << words();
}

TEST_F(GcpLogin, AMetadataServerThatIsNone) {
  for (const char* const kind :
       {"status:503", "status:429", "status:200:{}", "half", "garbage", "close", "body:", "body:{}",
        "body:{\"access_token\":\"x\"}", "redirect"}) {
    server_->trouble(kind, "/computeMetadata/", 2);
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
    server_->ask({{"do", "calm"}});
  }
  EXPECT_EQ(outcome(), "ok");
  // Another's web server: what it says is no token of Google's.
  server_->trouble("status:200:{\"access_token\":\"x\",\"token_type\":\"Bearer\"}",
                   "/computeMetadata/");
  EXPECT_NE(words().find("not Google's metadata server"), std::string::npos);
  for (const char* const host : {"metadata.example.com", "192.0.2.1", "169.254.169.254.example.com",
                                 "user@127.0.0.1", "127.0.0.1/x", "127.0.0.1:x"}) {
    set_variable("GCE_METADATA_HOST", host);
    EXPECT_EQ(outcome(), "key-unavailable") << host;
  }
  set_variable("GCE_METADATA_HOST", "127.0.0.1:1");
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words().find("GOOGLE_APPLICATION_CREDENTIALS"), std::string::npos);
}

TEST_F(GcpLogin, AServiceAccountsKey) {
  server_->use_service_account();
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/token"), 1U);
  EXPECT_EQ(we_are(), GcpServer::kNode);
  server_->ask({{"do", "expire"}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/token"), 1U);
  EXPECT_EQ(server_->seen("computeMetadata"), 0U);
}

TEST_F(GcpLogin, AServiceAccountsKeyThatIsNone) {
  const nlohmann::json good = account();
  const std::pair<const char*, nlohmann::json> unusable[] = {
      {"type", nullptr},
      {"type", "impersonated_service_account"},
      {"type", 1},
      {"client_email", nullptr},
      {"token_uri", nullptr},
      {"token_uri", "http://192.0.2.1/token"},
      {"token_uri", "file:///etc/passwd"},
      {"private_key", nullptr},
      {"private_key", 7},
      {"private_key", "secret-7531"},
      {"private_key", "-----BEGIN PRIVATE KEY-----\nsecret-7531\n-----END PRIVATE KEY-----\n"},
      {"private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
      {"universe_domain", "example.com"}};
  for (const auto& [name, value] : unusable) {
    SCOPED_TRACE(name + value.dump());
    use_account_with(good, name, value);
    EXPECT_EQ(outcome(), "key-unavailable");
    EXPECT_EQ(words().find("7531"), std::string::npos) << words();
  }
  use_account_with(good, "client_email", "nobody@p.iam.gserviceaccount.com");
  EXPECT_EQ(outcome(), "kms-denied");
  use_account_with(good, "private_key", account().at("private_key"));
  EXPECT_EQ(outcome(), "kms-denied") << "of another key than is named";
  EXPECT_NE(words().find("Invalid JWT Signature"), std::string::npos) << words();
  use_account_with(good, "private_key",
                   server_->ask({{"do", "service_account"}, {"email", "small"}, {"bits", 1024}})
                       .at("private_key"));
  EXPECT_EQ(outcome(), "key-unavailable");
  server_->use_credentials(good);
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(GcpLogin, FilesThatAreNone) {
  const std::string text = account().dump();
  const auto use = [this](const std::string& content, unsigned mode = 0600) {
    set_variable("GOOGLE_APPLICATION_CREDENTIALS", server_->write("c.json", content, mode));
    return outcome();
  };
  EXPECT_EQ(use(text), "ok");
  for (const unsigned mode : {0640U, 0604U, 0644U}) EXPECT_EQ(use(text, mode), "key-unavailable");
  for (const std::string& odd : {std::string(), std::string("{}"), std::string("[]"),
                                 text.substr(0, text.size() - 1), text + text})
    EXPECT_EQ(use(odd), "key-unavailable");
  set_variable("GOOGLE_APPLICATION_CREDENTIALS", server_->file("none"));
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_EQ(server_->seen("computeMetadata"), 0U) << "one that is named is to be had";
}

/// Tokens live for an hour by Google's clock, and not by ours.
TEST_F(GcpLogin, ClocksThatDiffer) {
  server_->use_service_account();
  const auto at = [this](int ahead) {
    server_->ask({{"do", "clock"}, {"ahead", ahead}});
    return outcome();
  };
  EXPECT_EQ(at(-20), "ok");
  EXPECT_EQ(at(3000), "ok");
  EXPECT_EQ(at(-600), "kms-denied");
  EXPECT_EQ(at(7200), "kms-denied");
  EXPECT_NE(words().find("iat and exp"), std::string::npos) << words();
  server_->use_federation({{"file", server_->write("subject", jwt("s1"), 0644)}}, true);
  server_->ask(
      {{"do", "impersonator"}, {"principal", "principal://s1"}, {"email", GcpServer::kNode}});
  for (const int ahead : {-7200, 7200}) {
    server_->ask({{"do", "clock"}, {"ahead", ahead}});
    const auto master = open();
    server_->seen("");
    EXPECT_EQ(wrapping(*master), "ok");
    EXPECT_EQ(server_->seen("generateAccessToken"), 0U) << "the one there is good for an hour";
  }
}

TEST_F(GcpLogin, ARefusalCostsNoLoginEachTime) {
  server_->use_service_account();
  const auto master = open();
  server_->ask({{"do", "allow"},
                {"principal", GcpServer::kNode},
                {"resource", GcpServer::kRing},
                {"permissions", {"cloudkms.cryptoKeys.get"}}});
  server_->seen("");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen("/token"), 0U);
  server_->trouble("refuse:UNAUTHENTICATED:no", ":encrypt", 10);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen("/token"), 1U);
}

TEST_F(GcpLogin, ALoginThatIsNotAnswered) {
  server_->use_service_account();
  for (const char* const kind : {"status:503", "status:429:{}", "half", "close", "redirect",
                                 "body:", "body:{}", "long", "garbage", "status:400:<html>"}) {
    server_->trouble(kind, "/token", 2);
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
    server_->ask({{"do", "calm"}});
  }
  server_->trouble("echo:INVALID_ARGUMENT", "/token");
  EXPECT_EQ(words().find("eyJ"), std::string::npos);
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(GcpLogin, TokensThatRunOutInMidRun) {
  server_->use_service_account();
  server_->ask({{"do", "lifetime"}, {"seconds", 2}});
  const auto master = open();
  server_->seen("");
  std::size_t logins = 0;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (logins < 2 && std::chrono::steady_clock::now() < until) {
    ASSERT_EQ(wrapping(*master), "ok");
    logins += server_->seen("/token");
    ::usleep(20'000);
  }
  EXPECT_GE(logins, 2U);
}

TEST_F(GcpLogin, FederationByAFile) {
  server_->use_federation({{"file", server_->write("subject", jwt("s1") + "\n", 0644)}}, false);
  EXPECT_EQ(outcome(), "kms-denied") << "nobody has let it in";
  allow("principal://s1");
  EXPECT_EQ(outcome(), "ok");
  server_->write("subject", jwt("s2"), 0644);
  EXPECT_EQ(outcome(), "kms-denied");
  server_->write("subject", jwt("s1", -10), 0644);
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words().find("expired"), std::string::npos) << words();
  server_->write("subject", "two words", 0644);
  EXPECT_EQ(outcome(), "key-unavailable");
  ASSERT_EQ(::unlink(server_->file("subject").c_str()), 0);
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(GcpLogin, FederationByAFileOfJson) {
  allow("principal://s1");
  const auto use = [this](const nlohmann::json& content, const nlohmann::json& format) {
    server_->use_federation(
        {{"file", server_->write("subject", content.dump(), 0644)}, {"format", format}}, false);
    return outcome();
  };
  const nlohmann::json content = {{"id_token", jwt("s1")}, {"x", 1}};
  EXPECT_EQ(use(content, {{"type", "json"}, {"subject_token_field_name", "id_token"}}), "ok");
  EXPECT_EQ(use(content, {{"type", "json"}, {"subject_token_field_name", "x"}}), "key-unavailable");
  EXPECT_EQ(use(content, {{"type", "json"}}), "key-unavailable");
  EXPECT_EQ(use(content, {{"type", "xml"}}), "key-unavailable");
  EXPECT_EQ(use(content, nullptr), "key-unavailable") << "it is no text";
}

TEST_F(GcpLogin, FederationByAUrl) {
  allow("principal://s1");
  server_->ask({{"do", "subject"}, {"token", jwt("s1")}});
  nlohmann::json source = {
      {"url", server_->url() + "/subject-token"},
      {"headers", {{"Authorization", "bearer subject-source-secret"}, {"X-Extra", "yes"}}},
      {"format", {{"type", "json"}, {"subject_token_field_name", "value"}}}};
  server_->use_federation(source, false);
  EXPECT_EQ(outcome(), "ok");
  for (const char* const kind : {"status:503", "half", "body:{}", "redirect"}) {
    server_->trouble(kind, "/subject-token");
    EXPECT_NE(outcome(), "ok") << kind;
  }
  source["headers"]["Authorization"] = "bearer another-7531";
  server_->use_federation(source, false);
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(words().find("7531"), std::string::npos);
  source["headers"]["X-Extra"] = "a\r\nb";
  server_->use_federation(source, false);
  EXPECT_EQ(outcome(), "key-unavailable");
  source["url"] = "http://192.0.2.1/";
  source.erase("headers");
  server_->use_federation(source, false);
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(GcpLogin, FederationOnToAServiceAccount) {
  const std::string subject = server_->write("subject", jwt("s1"), 0644);
  account();
  server_->use_federation({{"file", subject}}, true);
  EXPECT_EQ(outcome(), "kms-denied");
  server_->ask(
      {{"do", "impersonator"}, {"principal", "principal://s1"}, {"email", GcpServer::kNode}});
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(we_are(), GcpServer::kNode);
  server_->ask({{"do", "expire"}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("generateAccessToken"), 1U);
  const std::pair<const char*, const char*> troubles[] = {
      {"refuse:NOT_FOUND:Gaia id not found", "kms-denied"},
      {"refuse:UNAVAILABLE:no", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:{\"accessToken\":\"\"}", "kms-unavailable"},
      {"half", "kms-unavailable"}};
  for (const auto& [kind, code] : troubles) {
    server_->trouble(kind, "generateAccessToken");
    EXPECT_EQ(outcome(), code) << kind;
  }
}

TEST_F(GcpLogin, SourcesThatAreNotSupported) {
  for (const nlohmann::json& source :
       {nlohmann::json{{"executable", {{"command", "/bin/touch " + server_->file("ran")}}}},
        nlohmann::json{{"environment_id", "aws1"}, {"url", server_->url()}},
        nlohmann::json{{"certificate", {{"use_default_certificate_config", true}}}},
        nlohmann::json::object(), nlohmann::json(1)}) {
    server_->use_federation(source, false);
    EXPECT_EQ(outcome(), "key-unavailable") << source.dump();
  }
  server_->use_federation({{"executable", {{"command", "/bin/true"}}}}, false);
  EXPECT_NE(words().find("not supported"), std::string::npos) << words();
  EXPECT_NE(::access(server_->file("ran").c_str(), F_OK), 0);
}

TEST_F(GcpLogin, AUsersOwnCredentials) {
  allow("user@example.com");
  server_->ask({{"do", "user"},
                {"name", "user@example.com"},
                {"refresh_token", "1//refresh+7531"},
                {"client_id", "id.apps.example.com"},
                {"client_secret", "d-7531"}});
  const nlohmann::json good = {{"type", "authorized_user"},
                               {"client_id", "id.apps.example.com"},
                               {"client_secret", "d-7531"},
                               {"refresh_token", "1//refresh+7531"},
                               {"token_uri", server_->url() + "/token"}};
  // Where gcloud leaves it.
  server_->write("application_default_credentials.json", good.dump());
  set_variable("CLOUDSDK_CONFIG", server_->file("."));
  EXPECT_EQ(outcome(), "ok");
  EXPECT_NE(server_->seen("/token"), 0U);
  set_variable("CLOUDSDK_CONFIG", server_->file("nothing"));
  use_account_with(good, "refresh_token", "another-7531");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(words().find("7531"), std::string::npos) << words();
  use_account_with(good, "client_secret", nullptr);
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(GcpLogin, TheNodesFile) {
  const std::string text = "# of this node\n\nCOFFER_GCP_ENDPOINT = " + server_->url() +
                           "\nCOFFER_GCP_CA_FILE=" + server_->file("ca.pem") +
                           "\nGCE_METADATA_HOST=" + server_->plain_host() + "\n";
  const auto use = [this](const std::string& content, unsigned mode = 0644) {
    set_variable("COFFER_GCP_CONFIG", server_->write("gcp.conf", content, mode));
    return outcome();
  };
  for (const char* const name : {"COFFER_GCP_ENDPOINT", "COFFER_GCP_CA_FILE", "GCE_METADATA_HOST"})
    set_variable(name, "");
  EXPECT_EQ(use(text), "ok");
  for (const unsigned mode : {0664U, 0646U, 0666U}) EXPECT_EQ(use(text, mode), "key-unavailable");
  EXPECT_EQ(use(text + "colour=red\n"), "key-unavailable");
  EXPECT_EQ(use(text + "GOOGLE_CLOUD_QUOTA_PROJECT=a\rb\n"), "key-unavailable");
  EXPECT_EQ(use(text), "ok");
  set_variable("COFFER_GCP_ENDPOINT", "nowhere");
  EXPECT_EQ(outcome(), "key-unavailable") << "the environment comes first";
}

}  // namespace
}  // namespace coffer
