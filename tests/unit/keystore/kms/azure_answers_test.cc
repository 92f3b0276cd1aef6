// What becomes of answers of Azure's that are refusals, broken, or none.

#include <gtest/gtest.h>

#include <string>

#include "keystore/kms/secret_text.h"
#include "tests/unit/keystore/kms/azure_test.h"

namespace coffer {
namespace {

using testing::AzureServer;

class AzureAnswers : public AzureTest {
 protected:
  void SetUp() override {
    AzureTest::SetUp();
    if (IsSkipped()) return;
    master_ = open();
    wrapped_ = *master_->wrap(key_, context_);
  }
  [[nodiscard]] std::string opening() const { return unwrapped(*master_, wrapped_); }
  std::string kid(const std::string& host = AzureServer::kVault) {
    return "https://" + host + "/keys/master/" + open(host)->describe().version.substr(0, 32);
  }
  static std::string text(std::size_t size) {
    return std::string(as_text(to_secret_base64url(ByteVector(size)).expose()));
  }

  std::unique_ptr<MasterKms> master_;
  ByteVector wrapped_;
};

TEST_F(AzureAnswers, EachErrorHasItsCause) {
  const std::pair<const char*, const char*> known[] = {
      {"refuse:400:BadParameter::The parameter is incorrect.", "kms-unavailable"},
      {"refuse:400:SomethingElse::no", "kms-unavailable"},
      {"refuse:403:Forbidden:KeyDisabled:Operation unwrapKey is not allowed on a disabled key.",
       "kms-key-disabled"},
      {"refuse:403:Forbidden::Operation unwrapKey is not allowed on a disabled key.",
       "kms-key-disabled"},
      {"refuse:403:Forbidden:KeyNotYetValid:no", "kms-key-disabled"},
      {"refuse:403:Forbidden:ForbiddenByPolicy:no", "kms-denied"},
      {"refuse:403:Forbidden:ForbiddenByRbac:no", "kms-denied"},
      {"refuse:403:Forbidden:ForbiddenByFirewall:no", "kms-denied"},
      {"refuse:403:Forbidden::no permission", "kms-denied"},
      {"refuse:403:Other::no", "kms-unavailable"},
      {"refuse:404:KeyNotFound::no", "wrong-key"},
      {"refuse:404:NotFound::no", "kms-unavailable"},
      {"refuse:409:Conflict::no", "kms-unavailable"},
      {"refuse:429:Throttled:RequestLimitExceeded:no", "kms-unavailable"},
      {"refuse:500:InternalServerError::no", "kms-unavailable"},
      {"refuse:503:ServiceUnavailable::no", "kms-unavailable"},
      {"status:400", "kms-unavailable"},
      {"status:401:", "kms-unavailable"},
      {"status:403:<html>", "kms-unavailable"},
      {"status:404:<html>not Azure</html>", "kms-unavailable"},
      {"status:429:{}", "kms-unavailable"},
      {"status:500:[]", "kms-unavailable"},
      {"status:502:{\"error\":1}", "kms-unavailable"},
      {"status:503:{\"error\":{\"code\":7}}", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:<html>", "kms-unavailable"},
      {"body:{\"val", "kms-unavailable"},
      {"body:[]", "kms-unavailable"},
      {"body:null", "kms-unavailable"},
      {"body:{}", "kms-unavailable"},
      {"body:{\"value\":1}", "kms-unavailable"},
      {"body:{\"value\":\"AAAA\"}", "kms-unavailable"},
      {"body:{\"value\":\"AAAA\",\"kid\":7}", "kms-unavailable"},
      {"redirect", "kms-unavailable"},
      {"half", "kms-unavailable"},
      {"garbage", "kms-unavailable"},
      {"reset", "kms-unavailable"},
      {"close", "kms-unavailable"},
      {"long", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    SCOPED_TRACE(kind);
    // One that is closed while idle is tried again on a new connection.
    const bool again = kind == std::string_view("close") || kind == std::string_view("reset") ||
                       std::string_view(kind).starts_with("status:401");
    server_->trouble(kind, "/unwrapkey", again ? 2 : 1);
    EXPECT_EQ(opening(), code);
    server_->calm();
    EXPECT_EQ(opening(), "ok") << "it was the trouble's";
  }
}

/// A login counts towards the time that a call has.
TEST_F(AzureAnswers, OnesThatDoNotComeInTime) {
  server_->ask({{"do", "expire"}});
  server_->seen("");
  server_->trouble("late:5", "/oauth2/");
  server_->trouble("hang", "/unwrapkey");
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(opening(), "kms-unavailable");
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(12)) << "of 5 + 8";
  EXPECT_EQ(server_->seen("/oauth2/"), 1U);
  server_->calm();
  EXPECT_EQ(opening(), "ok");
}

TEST_F(AzureAnswers, AnInnerKeyThatIsNone) {
  const std::string named = kid();
  for (const std::size_t size : {0U, 1U, 31U, 32U, 33U}) {
    server_->trouble(R"(body:{"kid":")" + named + R"(","value":")" + text(size) + "\"}",
                     "/unwrapkey");
    EXPECT_EQ(opening(), "kms-unavailable") << size;
  }
}

/// The right value, as one of this key or of others.
TEST_F(AzureAnswers, KeysThatAnAnswerNames) {
  const std::string sealed = to_base64url(AzureWrapped::parse(wrapped_)->sealed);
  const std::string value =
      server_->api("master//unwrapkey", {{"alg", "RSA-OAEP-256"}, {"value", sealed}}).at("value");
  const auto named_as = [&](const std::string& key_id) {
    server_->trouble("body:" + nlohmann::json{{"kid", key_id}, {"value", value}}.dump(),
                     "/unwrapkey");
    return opening();
  };
  const std::string named = kid();
  EXPECT_EQ(named_as(named), "ok");
  std::string in_capitals = named;
  in_capitals.replace(8, 3, "V-1");
  EXPECT_EQ(named_as(in_capitals), "ok");
  for (const std::string& odd :
       {std::string(), named + "0", named.substr(0, named.size() - 1),
        named.substr(0, named.rfind('/')),
        named.substr(0, named.rfind('/') + 1) + std::string(32, '0'), "http" + named.substr(5),
        std::string("https://v-2") + named.substr(11), "https://evil.example/" + named.substr(8),
        named + "?x"})
    EXPECT_EQ(named_as(odd), "kms-unavailable") << odd;
}

TEST_F(AzureAnswers, ASignatureThatIsNone) {
  const std::string named = "https://" + std::string(AzureServer::kVault) + "/keys/master-signer/" +
                            master_->describe().version.substr(33);
  for (const std::string& odd :
       {std::string(), std::string("AAA*"), text(63), text(64), text(65), text(256)}) {
    server_->trouble("body:" + nlohmann::json{{"kid", named}, {"value", odd}}.dump(), "/sign");
    EXPECT_EQ(wrapping(*master_), "kms-unavailable") << odd;
  }
  for (const char* const answer : {"body:", "body:{}", "body:[1]", "half"}) {
    server_->trouble(answer, "/sign");
    EXPECT_EQ(wrapping(*master_), "kms-unavailable") << answer;
  }
  EXPECT_EQ(wrapping(*master_), "ok");
}

TEST_F(AzureAnswers, AnHsmsThatAreNone) {
  const auto hsm = open(AzureServer::kHsm);
  const nlohmann::json good = {
      {"kid", kid(AzureServer::kHsm)}, {"value", text(32)}, {"iv", text(12)}, {"tag", text(16)}};
  const auto with = [&](const char* name, const nlohmann::json& value) {
    auto answer = good;
    answer[name] = value;
    server_->trouble("body:" + answer.dump(), "/encrypt");
    return wrapping(*hsm);
  };
  EXPECT_EQ(with("aad", ""), "ok");
  EXPECT_EQ(with("kid", kid()), "kms-unavailable");
  const std::pair<const char*, std::size_t> odd[] = {
      {"value", 31}, {"value", 33}, {"iv", 0}, {"iv", 16}, {"tag", 0}, {"tag", 12}, {"tag", 17}};
  for (const auto& [name, size] : odd)
    EXPECT_EQ(with(name, text(size)), "kms-unavailable") << name << size;
  EXPECT_EQ(with("tag", nullptr), "kms-unavailable");
  const ByteVector wrapped = *hsm->wrap(key_, {});
  for (const std::size_t size : {0U, 31U, 33U}) {
    server_->trouble(R"(body:{"kid":")" + good.at("kid").get<std::string>() + R"(","value":")" +
                         text(size) + "\"}",
                     "/decrypt");
    EXPECT_EQ(hsm->unwrap(wrapped, {}).error().code, Code::kCorrupt) << size;
  }
}

/// An HSM authenticates what it opens, but not all that it does not take is what was altered.
TEST_F(AzureAnswers, WhatAnHsmDoesNotTake) {
  const auto hsm = open(AzureServer::kHsm);
  const ByteVector wrapped = *hsm->wrap(key_, context_);
  const auto refused = [&](const char* words) {
    server_->trouble(std::string("refuse:400:BadParameter::") + words, "/decrypt");
    return unwrapped(*hsm, wrapped);
  };
  EXPECT_EQ(refused("The parameter is incorrect."), "corrupt");
  EXPECT_EQ(refused("The specified version (7.4) is not recognized."), "kms-unavailable");
  EXPECT_EQ(unwrapped(*hsm, wrapped), "ok");
}

TEST_F(AzureAnswers, AKeyThatIsNone) {
  const nlohmann::json good = server_->api("master", {}, "GET");
  const auto answered = [this](const nlohmann::json& answer) {
    server_->trouble("body:" + answer.dump(), "/keys/master");
    const auto master = create_azure_master(AzureServer::uri(), no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  };
  EXPECT_EQ(answered(good), "ok");
  auto old = good;
  old["attributes"]["created"] = nullptr;
  EXPECT_EQ(answered(old), "ok") << "as of keys from before it was told";
  for (const nlohmann::json& odd :
       {nlohmann::json(), nlohmann::json::array(), nlohmann::json::object(), nlohmann::json(7)})
    EXPECT_EQ(answered(odd), "kms-unavailable") << odd;
  const std::pair<const char*, nlohmann::json> members[] = {
      {"/key/kid", "x"},          {"/key/kid", nullptr},       {"/key/kty", nullptr},
      {"/key/key_ops", "x"},      {"/key/key_ops", {1, 2}},    {"/attributes", 1},
      {"/attributes/enabled", 1}, {"/attributes/exp", "soon"}, {"/attributes/created", "then"}};
  for (const auto& [path, value] : members) {
    auto answer = good;
    answer[nlohmann::json::json_pointer(path)] = value;
    EXPECT_EQ(answered(answer), "kms-unavailable") << path << value;
  }
  const std::pair<const char*, nlohmann::json> numbers[] = {
      {"n", text(128)}, {"n", text(256)}, {"n", "*"}, {"n", nullptr}, {"e", ""}, {"e", "AAEAAQ"}};
  for (const auto& [name, value] : numbers) {
    auto answer = good;
    answer["key"][name] = value;
    EXPECT_EQ(answered(answer), "unsupported") << name << value;
  }
}

/// Whoever answers does not choose what the node's tokens are for.
TEST_F(AzureAnswers, ChallengesThatAskForMore) {
  server_->ask({{"do", "expire"}});
  server_->ask({{"do", "challenge"},
                {"text",
                 "Bearer authorization=\"https://evil.example/t\", "
                 "resource=\"https://management.azure.com\""}});
  server_->seen("");
  EXPECT_EQ(opening(), "kms-denied");
  EXPECT_EQ(server_->seen("/oauth2/"), 0U);
  server_->ask({{"do", "challenge"},
                {"text", "Bearer authorization=\"https://evil.example/t\", scope=https://graph"}});
  EXPECT_EQ(opening(), "kms-denied");
  EXPECT_EQ(server_->seen("/oauth2/"), 0U);
  server_->ask({{"do", "challenge"},
                {"text",
                 "Bearer authorization=\"https://evil.example/t\", "
                 "scope=\"https://vault.azure.net/.default\""}});
  EXPECT_EQ(opening(), "ok") << "and the token is from the node's own authority";
  EXPECT_EQ(server_->seen("/" + server_->tenant() + "/oauth2/"), 1U);
}

/// Also where the server itself would say them.
TEST_F(AzureAnswers, NoSecretIsInAMessage) {
  const auto hsm = open(AzureServer::kHsm);
  for (const char* const status : {"400", "401", "403", "500"}) {
    server_->trouble(std::string("echo:") + status, "/encrypt", 2);
    const auto outcome = hsm->wrap(key_, {});
    server_->calm();
    ASSERT_FALSE(outcome.ok());
    const std::string words = outcome.error().message();
    EXPECT_EQ(words.find("eyJ0"), std::string::npos) << words;
    EXPECT_EQ(words.find("value\":\""), std::string::npos) << words;
  }
}

}  // namespace
}  // namespace coffer
