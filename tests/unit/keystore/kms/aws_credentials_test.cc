// How a node gets credentials of AWS.

#include "keystore/kms/aws_credentials.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/aws_profile.h"
#include "tests/unit/keystore/kms/aws_test.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::set_variable;

constexpr const char* kSts = "AssumeRoleWithWebIdentity";

class AwsLogin : public AwsTest {
 protected:
  [[nodiscard]] std::string source() const {
    const auto facts = open()->inspect();
    for (const KmsFact& fact : *facts) {
      if (fact.name == "we are") return fact.value.substr(0, fact.value.find(" (access key"));
    }
    return "nobody";
  }
  /// An access key of `node`, as a profile has it.
  std::string profile_text(const std::string& title, bool temporary = false) {
    const auto access =
        server_->ask({{"do", "access"}, {"principal", "node"}, {"temporary", temporary}});
    std::string text =
        "[" + title + "]\naws_access_key_id = " + access.at("AccessKeyId").get<std::string>() +
        "\naws_secret_access_key=" + access.at("SecretAccessKey").get<std::string>() + "\n";
    if (temporary) text += "aws_session_token = " + access.at("Token").get<std::string>() + "\n";
    return text;
  }
  /// {"AccessKeyId": …} as a container's endpoint would say, but for these members.
  static std::string given(const nlohmann::json& other) {
    nlohmann::json said = {{"AccessKeyId", "ASIAX"},
                           {"SecretAccessKey", "secret"},
                           {"Token", "token"},
                           {"Expiration", "2100-01-01T00:00:00Z"}};
    said.update(other);
    return "body:" + said.dump();
  }
};

TEST_F(AwsLogin, AKeyOfTheEnvironment) {
  EXPECT_EQ(source(), "the environment");
  const std::string secret = testing::environment("AWS_SECRET_ACCESS_KEY");
  set_variable("AWS_SECRET_ACCESS_KEY", "another");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words().find("the secret access key is another one"), std::string::npos) << words();
  set_variable("AWS_SECRET_ACCESS_KEY", "two words");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("AWS_SECRET_ACCESS_KEY", "");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("AWS_SECRET_ACCESS_KEY", secret);
  set_variable("AWS_ACCESS_KEY_ID", "AKIANOBODYS");
  EXPECT_EQ(outcome(), "kms-denied");
  set_variable("AWS_ACCESS_KEY_ID", "AKIA/../\n");
  EXPECT_EQ(outcome(), "key-unavailable");
  server_->use_access_key("nobody");
  EXPECT_EQ(outcome(), "kms-denied");
}

TEST_F(AwsLogin, ATokenThatRunsOut) {
  server_->use_access_key("node", true);
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied");
}

TEST_F(AwsLogin, NothingIsSetUp) {
  server_->forget_access_key();
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words().find("keystore/AWS.md"), std::string::npos);
  // Where nobody answers, a machine's own may come back.
  set_variable("AWS_EC2_METADATA_DISABLED", "false");
  set_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words().find("no credentials are set up"), std::string::npos) << words();
  set_variable("AWS_EC2_METADATA_DISABLED", "perhaps");
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(AwsLogin, ByWebIdentity) {
  server_->use_web_identity();
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen(kSts), 1U) << "one for all calls";
  EXPECT_EQ(source(), "web identity, arn:aws:iam::111122223333:role/pod-role");
  server_->seen("");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen(kSts), 1U) << "one more";
  server_->use_web_identity("another pod");
  EXPECT_EQ(outcome(), "kms-denied");
  server_->use_web_identity("pod", -1);
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words().find("ExpiredTokenException"), std::string::npos) << words();
  set_variable("AWS_WEB_IDENTITY_TOKEN_FILE", server_->file("nothing"));
  EXPECT_EQ(outcome(), "key-unavailable");
  server_->use_web_identity();
  set_variable("AWS_ROLE_ARN", "");
  EXPECT_EQ(outcome(), "key-unavailable");
  server_->use_web_identity();
  set_variable("AWS_ENDPOINT_URL_STS", "");
  EXPECT_EQ(outcome(), "key-unavailable") << "no region says which STS to ask";
  EXPECT_NE(words().find("AWS_REGION"), std::string::npos) << words();
}

TEST_F(AwsLogin, AnStsThatDoesNotAnswer) {
  server_->use_web_identity();
  const std::string begin = "body:<A><Credentials><AccessKeyId>ASIAX</AccessKeyId>";
  for (const std::string& kind :
       {std::string("status:500"), std::string("status:429"), std::string("status:400"),
        std::string("half"), std::string("garbage"), std::string("redirect"), std::string("long"),
        std::string("body:"), std::string("body:<html>"), begin, begin + "<SecretAccessKey>",
        begin + "<SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken>",
        begin + "<SecretAccessKey>x</SecretAccessKey><SessionToken></SessionToken>"
                "<Expiration>2100-01-01T00:00:00Z</Expiration>",
        begin + "<SecretAccessKey>&lt;</SecretAccessKey><SessionToken>y</SessionToken>"
                "<Expiration>2100-01-01T00:00:00Z</Expiration>",
        begin + "<SecretAccessKey>x</SecretAccessKey><SecretAccessKey>x</SecretAccessKey>"
                "<SessionToken>y</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>"}) {
    server_->trouble(kind, kSts);
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
  }
  server_->trouble("body:<E><Code>IDPCommunicationError</Code></E>", kSts);
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(AwsLogin, ByProfile) {
  server_->forget_access_key();
  server_->write("credentials", "# ours\n" + profile_text("other") + profile_text("default"));
  EXPECT_EQ(source(), "profile default");
  set_variable("AWS_PROFILE", "other");
  EXPECT_EQ(source(), "profile other");
  set_variable("AWS_PROFILE", "third");
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words().find("profile third is in no file"), std::string::npos) << words();
  server_->write("config", profile_text("profile third", true));
  EXPECT_EQ(source(), "profile third");
  server_->write("config", "[third]\nregion=eu-west-1\n[profile third]\nregion = eu-west-1\n");
  EXPECT_NE(words().find("holds no credentials"), std::string::npos) << words();
  server_->write("config", profile_text("third"));
  EXPECT_EQ(outcome(), "key-unavailable") << "no profile of the config file";
  server_->write("credentials", profile_text("third"), 0644);
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words().find("chmod 600"), std::string::npos) << words();
  server_->write("credentials", std::string(70'000, '#'));
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(AwsLogin, AProfileIsReadAnew) {
  server_->forget_access_key();
  server_->write("credentials", profile_text("default", true));
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-denied") << "the file holds the old ones";
  server_->write("credentials", profile_text("default", true));
  EXPECT_EQ(wrapping(*master), "ok");
}

TEST_F(AwsLogin, WaysOfProfilesThatAreNotSupported) {
  server_->forget_access_key();
  const std::string program = server_->file("ran");
  for (const std::string& line :
       {std::string("role_arn = arn:aws:iam::1:role/x\nsource_profile = other"),
        std::string("role_arn = arn:aws:iam::1:role/x\ncredential_source = Environment"),
        std::string("role_arn = arn:aws:iam::1:role/x"), std::string("sso_session = x"),
        "credential_process = /usr/bin/touch " + program}) {
    server_->write("config", "[default]\n" + line + "\n");
    EXPECT_EQ(outcome(), "key-unavailable") << line;
    EXPECT_NE(words().find("does not support"), std::string::npos) << words();
  }
  EXPECT_NE(::access(program.c_str(), F_OK), 0) << "no program is run";
}

TEST_F(AwsLogin, AProfileWithAWebIdentity) {
  server_->use_web_identity();
  const std::string role = testing::environment("AWS_ROLE_ARN");
  const std::string file = testing::environment("AWS_WEB_IDENTITY_TOKEN_FILE");
  set_variable("AWS_ROLE_ARN", "");
  set_variable("AWS_WEB_IDENTITY_TOKEN_FILE", "");
  server_->write("config", "[default]\nrole_arn=" + role + "\nweb_identity_token_file=" + file +
                               "\nrole_session_name=mount\ns3 =\n  role_arn = nobody\n");
  EXPECT_EQ(source(), "web identity, " + role);
}

TEST(AwsProfiles, TheirText) {
  const testing::TempDir dir;
  const auto write = [&dir](const std::string& name, const std::string& text) {
    EXPECT_TRUE(replace_file(dir.file(name), as_bytes(text), 0600).ok());
    return dir.file(name);
  };
  const std::string credentials =
      write("credentials",
            "[a]\r\naws_access_key_id = ONE\r\n;x\n[b]\naws_access_key_id=TWO\n"
            "aws_secret_access_key = a=b \n[c d]\naws_access_key_id=THREE\n[f]\n"
            "aws_access_key_id=LASTING\naws_secret_access_key=x");
  const std::string config =
      write("config",
            "region=nowhere\n[default]\nregion = eu-west-1\n[profile a]\nregion=eu-west-2\n"
            "aws_access_key_id = NONE\n[profile \"c d\"]\nregion=eu-west-3\n[sso-session b]\n"
            "sso_start_url=x\nnonsense\n=\n[profile f]\naws_access_key_id=PASSING\n"
            "aws_secret_access_key=y\naws_session_token=z\n[");
  const auto read = [&](const std::string& name) {
    return *AwsProfile::read(config, credentials, name);
  };
  EXPECT_EQ(read("a").access_key_id, "ONE") << "the credentials file comes first";
  EXPECT_EQ(read("a").region, "eu-west-2");
  EXPECT_EQ(as_text(read("b").secret_access_key.expose()), "a=b");
  EXPECT_EQ(read("b").other_way, "");
  EXPECT_EQ(read("c d").access_key_id + read("c d").region, "THREEeu-west-3");
  EXPECT_EQ(read("default").region, "eu-west-1");
  EXPECT_EQ(read("f").access_key_id, "LASTING");
  EXPECT_TRUE(read("f").session_token.empty()) << "another key's";
  EXPECT_FALSE(read("e").found);
  EXPECT_FALSE(AwsProfile::read("", dir.file("nothing"), "a")->found);
}

TEST_F(AwsLogin, OfAContainer) {
  server_->use_container();
  EXPECT_EQ(source(), "the container's role");
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "ok") << "got anew";
  const std::string token = testing::environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  set_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(words().find("another"), std::string::npos) << words();
  set_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", server_->write("token", token, 0644));
  EXPECT_EQ(outcome(), "ok") << "the file comes first";
  set_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", server_->file("nothing"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "");
  for (const char* const url : {"http://192.0.2.1/credentials", "http://169.254.170.3/",
                                "http://metadata.example.com/", "ftp://127.0.0.1/", "nothing"}) {
    set_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    EXPECT_EQ(outcome(), "key-unavailable") << url;
  }
  set_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "v2/credentials");
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(AwsLogin, AContainersEndpointThatDoesNotAnswer) {
  server_->use_container();
  for (const std::string& kind :
       {std::string("status:500"), std::string("status:429"), std::string("half"),
        std::string("close"), std::string("redirect"), std::string("long"), std::string("garbage"),
        std::string("body:"), std::string("body:[]"), std::string("body:{}"),
        given({{"Expiration", "soon"}}), given({{"Expiration", 1}}), given({{"AccessKeyId", ""}}),
        given({{"AccessKeyId", "a/b"}}), given({{"SecretAccessKey", ""}}),
        given({{"SecretAccessKey", 1}}), given({{"Token", nullptr}}),
        given({{"Token", "a\r\nX: y"}}), given({{"x", {{"Token", "z"}}}})}) {
    server_->trouble(kind, "/credentials");
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
    EXPECT_EQ(words().find("http"), std::string::npos) << words();
  }
  server_->trouble(given({{"Code", "AssumeRoleUnauthorizedAccess"}}), "/credentials");
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_EQ(outcome(), "ok");
}

TEST_F(AwsLogin, OfAMachine) {
  server_->use_machine();
  EXPECT_EQ(source(), "role machine-role of this machine");
  server_->seen("");
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/latest/"), 3U) << "a token, the role, its credentials";
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("/latest/"), 0U);
  server_->trouble("status:404", "security-credentials/");
  EXPECT_EQ(outcome(), "key-unavailable") << "a machine without a role";
  for (const char* const kind : {"status:500", "half", "body:", "body:a/../b\n"}) {
    server_->trouble(kind, "security-credentials/");
    EXPECT_EQ(outcome(), "kms-unavailable") << kind;
  }
  server_->trouble("status:403", "/latest/api/token");
  EXPECT_EQ(outcome(), "key-unavailable");
  server_->trouble("body:two words", "/latest/api/token");
  EXPECT_EQ(outcome(), "kms-unavailable");
  for (const char* const url : {"http://192.0.2.1", "nothing", "ftp://127.0.0.1"}) {
    set_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    EXPECT_NE(outcome(), "ok") << url;
  }
}

TEST_F(AwsLogin, TheNodesFile) {
  const std::string endpoint = testing::environment("AWS_ENDPOINT_URL_KMS");
  const std::string text = "# of this node\n\nAWS_ENDPOINT_URL_KMS = " + endpoint +
                           "\nAWS_CA_BUNDLE=" + server_->file("ca.pem") + "\n";
  const auto use = [this](const std::string& content, unsigned mode = 0644) {
    set_variable("COFFER_AWS_CONFIG", server_->write("aws.conf", content, mode));
  };
  set_variable("AWS_ENDPOINT_URL_KMS", "");
  set_variable("AWS_CA_BUNDLE", "");
  use(text);
  EXPECT_EQ(outcome(), "ok");
  for (const unsigned mode : {0664U, 0646U, 0666U}) {
    use(text, mode);
    EXPECT_EQ(outcome(), "key-unavailable") << mode;
  }
  for (const char* const line :
       {"AWS_SECRET_ACCESS_KEY=7531\n", "AWS_ACCESS_KEY_ID=7531\n", "AWS_SESSION_TOKEN=7531\n",
        "colour=7531\n", "AWS_CONTAINER_AUTHORIZATION_TOKEN=7531\n"}) {
    use(text + line);
    EXPECT_EQ(outcome(), "key-unavailable") << line;
    EXPECT_EQ(words().find("7531"), std::string::npos);
  }
  use(text);
  set_variable("AWS_ENDPOINT_URL_KMS", "https://127.0.0.1:1");
  EXPECT_EQ(outcome(), "kms-unavailable") << "the environment comes first";
  set_variable("COFFER_AWS_CONFIG", server_->file("nothing"));
  set_variable("AWS_ENDPOINT_URL_KMS", endpoint);
  EXPECT_EQ(outcome(), "key-unavailable") << "one that is named has to be there";
}

}  // namespace
}  // namespace coffer
