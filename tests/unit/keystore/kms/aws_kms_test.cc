// The AWS provider against the stand-in.

#include "keystore/kms/aws_kms.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/keystore/kms/aws_test.h"
#include "tests/unit/keystore/kms/kms_facts.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::AwsServer;
using testing::fact;
using testing::facts_of_the_key;
using testing::set_variable;

constexpr const char* kElsewhere =
    "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000";

KmsProvider aws_provider() {
  return {"Aws",
          [] {
            const auto server = std::make_shared<AwsServer>();
            const auto make = [&](const std::string& key) {
              auto master = create_master("aws-kms://" + key, no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make(server->key()), make(server->make_key()), no_passphrase,
                              no_passphrase, server};
          },
          testing::have_aws_server};
}

INSTANTIATE_TEST_SUITE_P(Aws, MasterKmsContract, ::testing::Values(aws_provider()),
                         kms_provider_name);

class AwsMaster : public AwsTest {};

TEST_F(AwsMaster, WhatIsOnRecord) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  EXPECT_EQ(record.uri, server_->uri());
  const std::string id = server_->key().substr(server_->key().find('/') + 1);
  EXPECT_TRUE(record.version.starts_with(id + ":")) << record.version;
  EXPECT_EQ(record.params, "");
  const ByteVector wrapped = *master->wrap(key_, context_);
  EXPECT_EQ(wrapped[0], 1);
  EXPECT_EQ(wrapped[1], 0) << "KMS does not tell the material of what it encrypts";
  EXPECT_EQ(master->version_of(wrapped), "");
}

TEST_F(AwsMaster, AnAliasIsResolvedOnce) {
  const std::string alias = "arn:aws:kms:eu-west-1:111122223333:alias/models";
  EXPECT_EQ(outcome_of("aws-kms://" + alias), "kms-key-missing");
  server_->api("CreateAlias", {{"AliasName", "alias/models"}, {"TargetKeyId", server_->key()}});
  auto master = create_aws_master("aws-kms://" + alias, no_passphrase);
  ASSERT_TRUE(master.ok()) << master.error().message();
  MasterKeyRecord record = (*master)->describe();
  EXPECT_EQ(record.uri, server_->uri());
  const ByteVector wrapped = *(*master)->wrap(key_, context_);
  server_->api("CreateAlias",
               {{"AliasName", "alias/models"}, {"TargetKeyId", server_->make_key()}});
  EXPECT_EQ(unwrapped(**master, wrapped), "ok");
  EXPECT_EQ(reopened(record), "ok");
  record.uri = "aws-kms://" + alias;
  EXPECT_EQ(reopened(record), "invalid");
}

TEST_F(AwsMaster, RotationAndNewerMaterial) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector first = *master->wrap(key_, context_);
  const std::string material = *master->newest_version();
  EXPECT_EQ(material.size(), 64U);
  server_->api("RotateKeyOnDemand", {{"KeyId", server_->key()}});
  const std::string newer = *master->newest_version();
  EXPECT_NE(newer, material);
  EXPECT_EQ(reopened(record), "ok");
  EXPECT_EQ(unwrapped(*master, first), "ok");
  server_->seen("");
  const auto second = master->rewrap(first, context_);
  ASSERT_TRUE(second.ok()) << second.error().message();
  EXPECT_EQ(server_->seen("ReEncrypt"), 1U) << "and the key does not come here";
  EXPECT_EQ(master->version_of(*second), newer);
  EXPECT_EQ(unwrapped(*master, *second), "ok");
  const auto third = master->rewrap(*second, context_);
  ASSERT_TRUE(third.ok()) << third.error().message();
  EXPECT_EQ(unwrapped(*master, *third), "ok");
  KeyContext other = context_;
  other.scope = ScopeId{7};
  EXPECT_EQ(master->rewrap(first, other).error().code, Code::kCorrupt);
}

/// The material's name is none of what KMS authenticates.
TEST_F(AwsMaster, AMaterialThatIsAnotherIsNoticed) {
  const auto master = open();
  ByteVector wrapped = *master->rewrap(*master->wrap(key_, context_), context_);
  ASSERT_EQ(wrapped[1], 64);
  ASSERT_EQ(unwrapped(*master, wrapped), "ok");
  ByteVector altered = wrapped;
  altered[2] = altered[2] == '0' ? '1' : '0';
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  EXPECT_EQ(master->rewrap(altered, context_).error().code, Code::kCorrupt);
  altered[2] = 'A';
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  EXPECT_EQ(master->version_of(altered), "");
  for (std::size_t length = 0; length < 67; ++length)
    EXPECT_EQ(unwrapped(*master, Bytes(wrapped).first(length)), "corrupt") << length;
  server_->ask({{"do", "set"}, {"tells_material", false}});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(*master->newest_version(), "");
  const auto unnamed = master->rewrap(wrapped, context_);
  ASSERT_TRUE(unnamed.ok()) << unnamed.error().message();
  EXPECT_EQ(master->version_of(*unnamed), "");
  ByteVector long_one(3 + 6144, 1);
  long_one[1] = 0;
  EXPECT_EQ(unwrapped(*master, long_one), "corrupt");
}

TEST_F(AwsMaster, TheContextCanBeRead) {
  const auto master = open();
  KeyContext context;
  context.purpose = KeyContext::Purpose::kDek;
  context.store.bytes.fill(0xa1);
  context.scope = ScopeId{2};
  context.wrapping_kek = KeyVersion{3};
  context.file.bytes.fill(0xf1);
  context.version = KeyVersion{4};
  server_->seen("");
  ASSERT_TRUE(master->wrap(key_, context).ok());
  const auto seen = server_->ask({{"do", "seen"}});
  const auto asked = nlohmann::json::parse(seen.at(0).at("body").get<std::string>());
  EXPECT_EQ(asked.at("KeyId"), server_->key());
  EXPECT_EQ(asked.at("EncryptionContext"),
            (nlohmann::json{{"coffer-purpose", "dek"},
                            {"coffer-store", "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"},
                            {"coffer-scope", "2"},
                            {"coffer-kek", "3"},
                            {"coffer-file", "f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1"},
                            {"coffer-version", "4"}}));
}

TEST_F(AwsMaster, AnotherKey) {
  const auto master = open();
  MasterKeyRecord record = master->describe();
  const std::string other = server_->make_key();
  const auto second = create_aws_master("aws-kms://" + other, no_passphrase);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(unwrapped(**second, *master->wrap(key_, context_)), "wrong-key");
  MasterKeyRecord swapped = record;
  swapped.uri = "aws-kms://" + other;
  EXPECT_EQ(reopened(swapped), "wrong-key");
  server_->ask({{"do", "alter_key"}, {"key", server_->key()}, {"made_at", 1234567890.5}});
  EXPECT_EQ(reopened(record), "wrong-key") << "one that was made at another time";
  for (const char* const odd : {"", "x", ":", "1234abcd:1"}) {
    record.version = odd;
    EXPECT_EQ(reopened(record), "wrong-key") << odd;
  }
  // The answer to a question about one key is about another.
  server_->trouble(R"(body:{"KeyId":")" + other + R"(","Plaintext":"AAAA"})", "Decrypt");
  EXPECT_EQ(unwrapped(*master, *master->wrap(key_, context_)), "wrong-key");
  server_->trouble(R"(body:{"KeyId":")" + other + R"(","CiphertextBlob":"AAAA"})", "Encrypt");
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kWrongKey);
}

TEST_F(AwsMaster, KeysThatAreNone) {
  const auto made = [this](const nlohmann::json& more) {
    return outcome_of("aws-kms://" + server_->make_key(more));
  };
  EXPECT_EQ(made({{"usage", "SIGN_VERIFY"}, {"spec", "RSA_2048"}}), "unsupported");
  EXPECT_EQ(made({{"spec", "RSA_2048"}}), "unsupported");
  EXPECT_EQ(made({{"usage", "GENERATE_VERIFY_MAC"}, {"spec", "HMAC_256"}}), "unsupported");
  EXPECT_EQ(made({{"manager", "AWS"}}), "unsupported");
  EXPECT_EQ(made({{"state", "PendingImport"}}), "kms-key-disabled");
  EXPECT_EQ(made({{"id", "mrk-1234567890abcdef1234567890abcdef"}}), "ok");
  EXPECT_EQ(outcome_of(std::string("aws-kms://") + kElsewhere), "kms-key-missing");
  EXPECT_NE(words_of(std::string("aws-kms://") + kElsewhere).find("aws kms create-key"),
            std::string::npos);
}

TEST_F(AwsMaster, ADisabledKeyAndOneToBeDeleted) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const nlohmann::json named = {{"KeyId", server_->key()}};
  server_->api("DisableKey", named);
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-key-disabled");
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsKeyDisabled);
  EXPECT_EQ(reopened(master->describe()), "kms-key-disabled");
  server_->api("EnableKey", named);
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  server_->api("ScheduleKeyDeletion", named);
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-key-disabled");
  EXPECT_EQ(outcome(), "kms-key-disabled");
  EXPECT_NE(words_of(server_->uri()).find("cancel-key-deletion"), std::string::npos);
  server_->api("CancelKeyDeletion", named);
  server_->api("EnableKey", named);
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
}

TEST_F(AwsMaster, UrisThatCannotBe) {
  const std::string id = "1234abcd-12ab-34cd-56ef-1234567890ab";
  const std::string base = "aws-kms://arn:aws:kms:eu-west-1:111122223333:";
  for (const std::string& uri :
       {std::string("aws-kms://"), std::string("aws-kms://arn"), std::string("aws-kms:///") + id,
        base, base + "key/", base + "key/" + id + "x", base + "key/" + id.substr(1),
        base + "key/1234ABCD-12ab-34cd-56ef-1234567890ab", base + "key/mrk-1234", base + "alias/",
        base + "key/" + id + "?token=7531", base + "key/" + id + "/7531", base + "grant/" + id,
        base + "alias/a b", base + "alias/../7531", base + "alias/7531:" + id, base + "7531/" + id,
        "aws-kms://key:7531@arn:aws:kms:eu-west-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:eu-west-1:7531:key/" + id,
        "aws-kms://arn:aws:kms:eu-west-1::key/" + id,
        "aws-kms://arn:aws:s3:eu-west-1:111122223333:key/" + id,
        "aws-kms://arn:aws-iso:kms:us-iso-east-1:111122223333:key/" + id,
        "aws-kms://arn:aws-cn:kms:eu-west-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:cn-north-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:us-gov-west-1:111122223333:key/" + id,
        // Hosts that are AWS's, and somebody's bucket.
        "aws-kms://arn:aws:kms:s3-eu-west-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:evil.example.com/-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:eu-west-1.evil-a-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:eu-west-:111122223333:key/" + id,
        "aws-kms://arn:aws:kms:EU-WEST-1:111122223333:key/" + id,
        "aws-kms://arn:aws:kms::111122223333:key/" + id}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
    EXPECT_EQ(words_of(uri).find("7531"), std::string::npos) << words_of(uri);
  }
  EXPECT_EQ(server_->seen(""), 0U);
}

TEST_F(AwsMaster, HostsOfRegions) {
  EXPECT_EQ(aws_host("kms", "eu-west-1"), "kms.eu-west-1.amazonaws.com");
  EXPECT_EQ(aws_host("kms-fips", "us-gov-west-1"), "kms-fips.us-gov-west-1.amazonaws.com");
  EXPECT_EQ(aws_host("sts", "cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
  EXPECT_EQ(aws_partition_of("ap-southeast-2"), "aws");
  EXPECT_EQ(aws_partition_of("us-gov-east-1"), "aws-us-gov");
  EXPECT_EQ(aws_partition_of("cn-northwest-1"), "aws-cn");
  for (const char* const odd : {"", "e", "eu", "us-iso-east-1", "eu-west", "eu-west-123", "eu--1"})
    EXPECT_EQ(aws_partition_of(odd), "") << odd;
}

/// Whoever runs another partition is shown no credentials of this one.
TEST_F(AwsMaster, OnlyTheNodesOwnPartitionIsAsked) {
  const std::string id = "1234abcd-12ab-34cd-56ef-1234567890ab";
  const std::string china = "aws-kms://arn:aws-cn:kms:cn-north-1:111122223333:key/" + id;
  set_variable("AWS_ENDPOINT_URL_KMS", "");
  EXPECT_EQ(outcome_of(china), "key-unavailable");
  EXPECT_NE(words_of(china).find("AWS_REGION"), std::string::npos);
  set_variable("AWS_REGION", "us-gov-west-1");
  EXPECT_EQ(outcome_of(china), "key-unavailable");
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("AWS_REGION", "nowhere");
  EXPECT_EQ(outcome(), "key-unavailable");
  // A private endpoint is the node's own choice.
  set_variable("AWS_REGION", "us-gov-west-1");
  set_variable("AWS_ENDPOINT_URL_KMS", "https://" + server_->host());
  EXPECT_EQ(outcome(), "ok");
}

/// Who alters a keystore can name a key of his own account that lets this node use it, and have put
/// a whole store of his own under it.
TEST_F(AwsMaster, AKeyOfAnotherAccountIsNotUsedWhereKeysAreNamed) {
  const MasterKeyRecord record = open()->describe();
  const std::string uri = "aws-kms://" + server_->make_key({{"account", "999999999999"}});
  const auto theirs = create_aws_master(uri, no_passphrase);
  ASSERT_TRUE(theirs.ok()) << theirs.error().message();
  const MasterKeyRecord planted = (*theirs)->describe();
  EXPECT_EQ(reopened(planted), "ok");
  set_variable("COFFER_AWS_KEYS", "arn:aws:kms:eu-west-1:111122223333");
  server_->seen("");
  EXPECT_EQ(reopened(planted), "key-unavailable");
  EXPECT_EQ(outcome_of(uri), "key-unavailable");
  EXPECT_NE(words_of(uri).find("COFFER_AWS_KEYS"), std::string::npos);
  EXPECT_EQ(server_->seen(""), 0U);
  EXPECT_EQ(reopened(record), "ok");
}

TEST_F(AwsMaster, ANodeMayNameTheKeysThatItUses) {
  const std::string ours = "arn:aws:kms:eu-west-1:111122223333";
  const std::string other = "arn:aws:kms:us-east-1:999999999999";
  const std::string key = server_->key();
  server_->api("CreateAlias", {{"AliasName", "alias/models"}, {"TargetKeyId", key}});
  const MasterKeyRecord record = open()->describe();
  for (const std::string& keys : {ours, key, other + "," + ours, other + " " + key + ", "}) {
    set_variable("COFFER_AWS_KEYS", keys);
    EXPECT_EQ(reopened(record), "ok") << keys;
  }
  set_variable("COFFER_AWS_KEYS", ours);
  EXPECT_EQ(outcome_of("aws-kms://" + ours + ":alias/models"), "ok");
  server_->seen("");
  const std::string another = key.substr(0, key.size() - 1) + (key.back() == '0' ? "1" : "0");
  const std::string cut = key.substr(0, key.size() - 1);
  for (const std::string& keys :
       {other, another, other + ":key/" + key.substr(key.find('/') + 1), std::string(kElsewhere),
        // Neither accounts nor keys.
        cut, ours.substr(0, ours.size() - 1), ours + "4", ours + ":", ours + ":key",
        ours + ":key/*", ours + ":alias/models", std::string("arn:aws:kms:eu-west-1"),
        std::string("arn"), std::string(","), std::string("aws-kms://") + key, ours + ",x",
        std::string("arn:aws-cn:kms:eu-west-1:111122223333")}) {
    set_variable("COFFER_AWS_KEYS", keys);
    EXPECT_EQ(reopened(record), "key-unavailable") << keys;
  }
  set_variable("COFFER_AWS_KEYS", key);
  EXPECT_EQ(outcome_of("aws-kms://" + ours + ":alias/models"), "key-unavailable");
  EXPECT_EQ(server_->seen(""), 0U);
}

TEST_F(AwsMaster, AnotherRegionThanTheServers) {
  std::string key = server_->key();
  key.replace(key.find("eu-west-1"), 9, "us-east-1");
  EXPECT_EQ(outcome_of("aws-kms://" + key), "kms-denied") << "signed for another region";
}

TEST_F(AwsMaster, WhoMayDoWhat) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  server_->allow("node", {"DescribeKey", "Decrypt"});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  EXPECT_EQ(master->wrap(key_, context_).error().code, Code::kKmsDenied);
  EXPECT_EQ(master->rewrap(wrapped, context_).error().code, Code::kKmsDenied);
  server_->allow("node", {"DescribeKey"});
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-denied");
  server_->allow("node", {});
  EXPECT_EQ(outcome(), "kms-denied");
  EXPECT_NE(words_of(server_->uri()).find("policy"), std::string::npos);
}

TEST_F(AwsMaster, WhatAwsTellsOfItself) {
  const auto facts = open()->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(fact(*facts, "connection"), "TLSv1.3");
  EXPECT_TRUE(fact(*facts, "its public key").ends_with("= (SHA-256)"));
  const std::string said = facts_of_the_key(*facts);
  EXPECT_TRUE(said.starts_with(
      "key state=Enabled;origin=AWS_KMS;regions=eu-west-1;we are=the environment (access key " +
      testing::environment("AWS_ACCESS_KEY_ID") + ");newest version="))
      << said;
}

}  // namespace
}  // namespace coffer
