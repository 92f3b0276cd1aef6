// What becomes of answers of Google's that are refusals, broken, or none.

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "keystore/kms/crc32c.h"
#include "keystore/kms/gcp_kms.h"
#include "keystore/kms/secret_text.h"
#include "tests/unit/keystore/kms/gcp_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::GcpServer;

class GcpAnswers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
    server_.emplace();
    auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    ASSERT_TRUE(master.ok()) << master.error().message();
    master_ = *std::move(master);
    wrapped_ = *master_->wrap(key_, {});
  }
  std::string unwrapped() {
    const auto key = master_->unwrap(wrapped_, {});
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }
  std::string wrapping() {
    const auto wrapped = master_->wrap(key_, {});
    return wrapped ? "ok" : std::string(to_string(wrapped.error().code));
  }
  static std::string sum(Bytes data) { return std::to_string(crc32c(data)); }

  std::optional<GcpServer> server_;
  const SecretBytes key_ = SecretBytes::random(32);
  std::unique_ptr<MasterKms> master_;
  ByteVector wrapped_;
};

TEST_F(GcpAnswers, EachErrorHasItsCause) {
  const std::pair<const char*, const char*> known[] = {
      {"refuse:INVALID_ARGUMENT:Decryption failed: the ciphertext is invalid.", "corrupt"},
      {"refuse:INVALID_ARGUMENT:Decryption failed: verify that 'name' refers to the correct "
       "CryptoKey.",
       "corrupt"},
      {"refuse:INVALID_ARGUMENT:The checksum in field ciphertext_crc32c did not match the data in "
       "field ciphertext.",
       "kms-unavailable"},
      {"refuse:INVALID_ARGUMENT:something else", "kms-unavailable"},
      {"refuse:FAILED_PRECONDITION:projects/p is not enabled, current state is: DISABLED.",
       "kms-key-disabled"},
      {"refuse:PERMISSION_DENIED:Permission denied", "kms-denied"},
      {"refuse:UNAVAILABLE:The service is currently unavailable.", "kms-unavailable"},
      {"refuse:DEADLINE_EXCEEDED:Deadline expired", "kms-unavailable"},
      {"refuse:ABORTED:aborted", "kms-unavailable"},
      {"status:400", "kms-unavailable"},
      {"status:401:", "kms-unavailable"},
      {"status:403:<html>", "kms-unavailable"},
      {"status:404:<html>not Google</html>", "kms-unavailable"},
      {"status:429:{}", "kms-unavailable"},
      {"status:500:[]", "kms-unavailable"},
      {"status:502:{\"error\":1}", "kms-unavailable"},
      {"status:503:{\"error\":{\"status\":7}}", "kms-unavailable"},
      {"body:", "kms-unavailable"},
      {"body:<html>", "kms-unavailable"},
      {"body:{\"plain", "kms-unavailable"},
      {"body:[]", "kms-unavailable"},
      {"body:null", "kms-unavailable"},
      {"body:{}", "kms-unavailable"},
      {"body:{\"plaintext\":1,\"plaintextCrc32c\":\"0\"}", "kms-unavailable"},
      {"body:{\"plaintext\":\"***\",\"plaintextCrc32c\":\"0\"}", "kms-unavailable"},
      {"body:{\"plaintext\":\"AAAA\"}", "kms-unavailable"},
      {"body:{\"plaintext\":\"AAAA\",\"plaintextCrc32c\":0}", "kms-unavailable"},
      {"body:{\"plaintext\":\"AAAA\",\"plaintextCrc32c\":\"1\"}", "kms-unavailable"},
      {"body:{\"a\":{\"plaintext\":\"AAAA\",\"plaintextCrc32c\":\"1\"}}", "kms-unavailable"},
      {"close", "kms-unavailable"},
      {"long", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    SCOPED_TRACE(kind);
    // One that is closed while idle is tried again on a new connection.
    const bool again =
        kind == std::string_view("close") || std::string_view(kind).starts_with("status:401");
    server_->trouble(kind, ":decrypt", again ? 2 : 1);
    EXPECT_EQ(unwrapped(), code);
    server_->ask({{"do", "calm"}});
    EXPECT_EQ(unwrapped(), "ok") << "it was the trouble's";
  }
}

/// A login counts towards the time that a call has.
TEST_F(GcpAnswers, OnesThatDoNotComeInTime) {
  server_->ask({{"do", "expire"}});
  server_->trouble("hang", "/computeMetadata/");
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(unwrapped(), "kms-unavailable");
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20)) << "of the 25";
  server_->ask({{"do", "calm"}});
  EXPECT_EQ(unwrapped(), "ok");
}

TEST_F(GcpAnswers, APlaintextThatIsNone) {
  const auto answer = [](const ByteVector& plain) {
    return "body:{\"plaintext\":\"" + std::string(as_text(to_secret_base64(plain).expose())) +
           "\",\"plaintextCrc32c\":\"" + sum(plain) + "\"}";
  };
  for (const std::size_t size : {1U, 32U, 63U, 64U, 65U}) {
    server_->trouble(answer(ByteVector(size)), ":decrypt");
    EXPECT_EQ(unwrapped(), "corrupt") << size;
  }
}

TEST_F(GcpAnswers, ACiphertextThatIsNone) {
  const std::string version =
      std::string(GcpServer::kRing) + "/cryptoKeys/master/cryptoKeyVersions/1";
  const nlohmann::json good = {{"name", version},
                               {"ciphertext", "AAAA"},
                               {"ciphertextCrc32c", sum(ByteVector(3))},
                               {"verifiedPlaintextCrc32c", true},
                               {"verifiedAdditionalAuthenticatedDataCrc32c", true}};
  const auto with = [&](const char* name, const nlohmann::json& value) {
    auto answer = good;
    answer[name] = value;
    server_->trouble("body:" + answer.dump(), ":encrypt");
    return wrapping();
  };
  EXPECT_EQ(with("protectionLevel", "HSM"), "ok");
  EXPECT_EQ(with("name", "projects/123456/" + version.substr(version.find("locations"))), "ok");
  for (const std::string& name :
       {std::string(), version + "0x", version.substr(0, version.size() - 1) + "0",
        version.substr(0, version.size() - 1) + "01", version + "23456789012",
        version.substr(0, version.size() - 1), "projects/q" + version.substr(10),
        std::string(GcpServer::kRing) + "/cryptoKeys/other/cryptoKeyVersions/1"})
    EXPECT_EQ(with("name", name), "kms-unavailable") << name;
  EXPECT_EQ(with("name", 1), "kms-unavailable");
  for (const char* const sealed : {"", "AAA", "****"})
    EXPECT_EQ(with("ciphertext", sealed), "kms-unavailable") << sealed;
  EXPECT_EQ(with("ciphertext", std::string(4000, 'A')), "kms-unavailable");
  for (const nlohmann::json& none :
       {nlohmann::json("1"), nlohmann::json(nullptr), nlohmann::json(0)})
    EXPECT_EQ(with("ciphertextCrc32c", none), "kms-unavailable");
  for (const nlohmann::json& none :
       {nlohmann::json(false), nlohmann::json(nullptr), nlohmann::json("true")}) {
    EXPECT_EQ(with("verifiedPlaintextCrc32c", none), "kms-unavailable");
    EXPECT_EQ(with("verifiedAdditionalAuthenticatedDataCrc32c", none), "kms-unavailable");
  }
  for (const char* const answer : {"body:", "body:{}", "body:[1]", "half"}) {
    server_->trouble(answer, ":encrypt");
    EXPECT_EQ(wrapping(), "kms-unavailable") << answer;
  }
}

TEST_F(GcpAnswers, AKeyThatIsNone) {
  for (const char* const answer :
       {"body:", "body:[]", "body:{}", R"(body:{"purpose":"ENCRYPT_DECRYPT"})",
        R"(body:{"purpose":"ENCRYPT_DECRYPT","createTime":"a b"})",
        R"(body:{"purpose":1,"createTime":"2020-01-01T00:00:00Z"})",
        R"(body:{"purpose":"ENCRYPT_DECRYPT","createTime":"2020-01-01T00:00:00Z","primary":1})",
        R"(body:{"purpose":"ENCRYPT_DECRYPT","createTime":"2020-01-01T00:00:00Z","primary":{}})",
        R"(body:{"purpose":"ENCRYPT_DECRYPT","createTime":"2020-01-01T00:00:00Z",)"
        R"("primary":{"name":"projects/p/cryptoKeyVersions/1","state":"ENABLED"}})"}) {
    server_->trouble(answer, "/cryptoKeys/master");
    const auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    ASSERT_FALSE(master.ok()) << answer;
    EXPECT_EQ(master.error().code, Code::kKmsUnavailable) << answer;
  }
}

}  // namespace
}  // namespace coffer
