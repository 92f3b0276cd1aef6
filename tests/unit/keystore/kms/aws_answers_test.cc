// What AWS may answer, or somebody in its place.

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/keystore/kms/aws_test.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::set_variable;

class AwsAnswers : public AwsTest {
 protected:
  [[nodiscard]] std::string answered(const std::string& fields) const {
    return "body:{\"KeyId\":\"" + server_->key() + "\"," + fields + "}";
  }
};

TEST_F(AwsAnswers, EachErrorHasItsCause) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const std::pair<std::string, const char*> known[] = {
      {"status:400:InvalidCiphertextException", "corrupt"},
      {"status:500:com.amazonaws.kms#InvalidCiphertextException", "corrupt"},
      {"status:400:IncorrectKeyException:not that one", "wrong-key"},
      {"status:400:DisabledException", "kms-key-disabled"},
      {"status:400:KMSInvalidStateException:pending", "kms-key-disabled"},
      {"status:400:AccessDeniedException:no", "kms-denied"},
      {"status:403:AccessDeniedException:no", "kms-denied"},
      {"status:400:ExpiredTokenException", "kms-denied"},
      {"status:400:UnrecognizedClientException", "kms-denied"},
      {"status:400:InvalidSignatureException", "kms-denied"},
      {"status:400:MissingAuthenticationTokenException", "kms-denied"},
      {"header:AccessDeniedException:http://internal.amazon.com/coral/", "kms-denied"},
      {"header:DisabledException", "kms-key-disabled"},
      {"status:400:KeyUnavailableException", "kms-unavailable"},
      {"status:503:DependencyTimeoutException", "kms-unavailable"},
      {"status:400:LimitExceededException", "kms-unavailable"},
      {"status:400:SomethingNewException:x", "kms-unavailable"},
      {"status:404", "kms-unavailable"},
      {"status:429", "kms-unavailable"},
      {"status:502", "kms-unavailable"},
      {"status:204", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:<html>", "kms-unavailable"},
      {"body:[]", "kms-unavailable"},
      {"body:null", "kms-unavailable"},
      {"body:{\"Plaintext\":\"AAAA\"}", "kms-unavailable"},
      {answered("\"Plaintext\":1"), "kms-unavailable"},
      {answered("\"Plaintext\":\"***\""), "kms-unavailable"},
      {answered("\"Plaintext\":\"AAAA\",\"Plaintext\":\"AAAA\""), "kms-unavailable"},
      {answered("\"x\":{\"Plaintext\":\"AAAA\"}"), "kms-unavailable"},
      {answered("\"Plain"), "kms-unavailable"},
      {answered("\"Plaintext\":\"AAAA\""), "corrupt"},
      {"close", "kms-unavailable"},
      {"long", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    SCOPED_TRACE(kind);
    // One that is closed while idle is tried again on a new connection.
    server_->trouble(kind, "Decrypt", kind == "close" ? 2 : 1);
    EXPECT_EQ(unwrapped(*master, wrapped), code);
    server_->ask({{"do", "calm"}});
    EXPECT_EQ(unwrapped(*master, wrapped), "ok") << "it was the trouble's";
  }
  for (const std::string& answer :
       {std::string("body:"), std::string("body:{}"), answered("\"CiphertextBlob\":1"),
        answered("\"CiphertextBlob\":\"\""), answered("\"CiphertextBlob\":\"AAA\""),
        answered("\"CiphertextBlob\":\"AAAA\",\"KeyMaterialId\":\"x\""),
        answered("\"CiphertextBlob\":\"AAAA\",\"KeyMaterialId\":\"" + std::string(256, 'a') + "\""),
        answered("\"CiphertextBlob\":\"AAAA\",\"KeyMaterialId\":\"" + std::string(320, 'a') + "\""),
        answered("\"CiphertextBlob\":\"" + std::string(8196, 'A') + "\""), std::string("half")}) {
    server_->trouble(answer, "Encrypt");
    EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsUnavailable) << answer;
  }
  for (const std::string& answer :
       {std::string("body:"), std::string("body:[]"), std::string("body:{}"),
        std::string("body:{\"KeyMetadata\":{\"Arn\":1}}"),
        "body:{\"KeyMetadata\":{\"Arn\":\"" + server_->key() +
            "\",\"KeyId\":\"x\",\"KeyState\":\"Enabled\",\"CreationDate\":-1}}"}) {
    server_->trouble(answer, "DescribeKey");
    EXPECT_EQ(outcome(), "kms-unavailable") << answer;
  }
}

TEST_F(AwsAnswers, AKeyWhoseRegionsChangeCanBeUsed) {
  for (const auto& [state, code] : std::map<std::string, std::string>{
           {"Updating", "ok"}, {"Unavailable", "kms-key-disabled"}}) {
    const std::string id = server_->key().substr(server_->key().find('/') + 1);
    const nlohmann::json key = {{"Arn", server_->key()},
                                {"KeyId", id},
                                {"KeyState", state},
                                {"KeyManager", "CUSTOMER"},
                                {"KeySpec", "SYMMETRIC_DEFAULT"},
                                {"KeyUsage", "ENCRYPT_DECRYPT"},
                                {"CreationDate", 1.7e9}};
    server_->trouble("body:" + nlohmann::json{{"KeyMetadata", key}}.dump(), "DescribeKey");
    EXPECT_EQ(outcome(), code) << state;
  }
}

TEST_F(AwsAnswers, AnAnswerThatHangs) {
  const auto master = open();
  server_->trouble("hang", "Encrypt");
  const auto outcome = master->wrap(key_, context_);
  server_->ask({{"do", "calm"}});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, Code::kKmsUnavailable);
  EXPECT_NE(outcome.error().message().find("in time"), std::string::npos);
}

TEST_F(AwsAnswers, WhatCertificatesSay) {
  set_variable("AWS_CA_BUNDLE", server_->file("another-ca.pem"));
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words_of(server_->uri()).find("does not verify"), std::string::npos);
  set_variable("AWS_CA_BUNDLE", server_->file("nothing.pem"));
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(AwsAnswers, EndpointsThatCannotBe) {
  for (const char* const url :
       {"127.0.0.1", "ftp://127.0.0.1", "https://", "https://127.0.0.1:1/path", "https://u@h",
        "https://h?x", "http://"}) {
    set_variable("AWS_ENDPOINT_URL_KMS", url);
    EXPECT_EQ(outcome(), "key-unavailable") << url;
  }
  set_variable("AWS_ENDPOINT_URL_KMS", "http://192.0.2.1");
  EXPECT_EQ(outcome(), "invalid");
  set_variable("AWS_ENDPOINT_URL_KMS", server_->metadata());
  EXPECT_EQ(outcome(), "kms-unavailable") << "plain text for loopback, which knows no KMS here";
  set_variable("AWS_ENDPOINT_URL_KMS", "");
  set_variable("AWS_ENDPOINT_URL", "https://" + server_->host() + "/");
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(AwsAnswers, ManyThreadsWhileCredentialsEnd) {
  server_->use_machine();
  const auto master = open();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 15; ++i) {
        const auto wrapped = master->wrap(key_, context_);
        if (!wrapped || unwrapped(*master, *wrapped) != "ok") ++failures;
      }
    });
  }
  // Each call asks anew once; a second end within one call may be a refusal, and there is none.
  server_->ask({{"do", "expire"}});
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace coffer
