// The KMIP provider against PyKMIP's server.

#include "keystore/kms/kmip_kms.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/kms_facts.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::KmipServer;
using testing::set_variable;

KmsProvider kmip_provider() {
  return {"Kmip",
          [] {
            const auto server = std::make_shared<KmipServer>();
            const auto make = [&] {
              auto master = create_master(server->new_key(), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            const MasterKeyRecord first = make();
            return KmsSetting{first, make(), no_passphrase, no_passphrase, server};
          },
          testing::have_kmip_server};
}

INSTANTIATE_TEST_SUITE_P(Kmip, MasterKmsContract, ::testing::Values(kmip_provider()),
                         kms_provider_name);

class KmipMaster : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_kmip_server()) COFFER_SKIP("no python3-pykmip");
    server_.emplace();
    uri_ = server_->new_key();
    uid_ = uri_.substr(uri_.rfind('/') + 1);
  }
  /// The provider alone: what stands around it would ask again.
  [[nodiscard]] std::unique_ptr<MasterKms> open() const {
    auto master = create_kmip_master(uri_, no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    return *std::move(master);
  }
  [[nodiscard]] std::string outcome_of(const std::string& uri) const {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string outcome() const { return outcome_of(uri_); }
  [[nodiscard]] std::string words_of(const std::string& uri) const {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  /// Of opening the key that a keystore remembers so.
  [[nodiscard]] std::string reopened(const MasterKeyRecord& record) const {
    const auto master = open_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string unwrapped(MasterKms& master, Bytes wrapped) const {
    const auto key = master.unwrap(wrapped, context_);
    if (!key) return std::string(to_string(key.error().code));
    return constant_time_equal(key->expose(), key_.expose()) ? "ok" : "another";
  }
  [[nodiscard]] std::string wrapped(MasterKms& master) const {
    const auto done = master.wrap(key_, context_);
    return done ? "ok" : std::string(to_string(done.error().code));
  }
  void change(nlohmann::json about) {
    about["do"] = "change";
    about["uid"] = uid_;
    server_->ask(about);
  }

  std::optional<KmipServer> server_;
  std::string uri_;
  std::string uid_;
  const SecretBytes key_ = SecretBytes::random(32);
  const KeyContext context_{};
};

TEST_F(KmipMaster, WhatIsOnRecord) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  EXPECT_EQ(record.uri, uri_);
  EXPECT_EQ(record.version.size(), 64U);
  EXPECT_EQ(record.params, "");
  EXPECT_EQ(open()->describe().version, record.version);
  const ByteVector wrapped = *master->wrap(key_, context_);
  EXPECT_EQ(wrapped[0], 1);
  EXPECT_EQ(wrapped.size(), 61U);
  EXPECT_EQ(*master->newest_version(), "");
  EXPECT_EQ(master->version_of(wrapped), "");
}

TEST_F(KmipMaster, AnotherKeyUnderTheSameIdentifier) {
  const auto master = open();
  MasterKeyRecord record = master->describe();
  const ByteVector wrapped = *master->wrap(key_, context_);
  change({{"value", std::string(64, 'a')}});
  EXPECT_EQ(reopened(record), "wrong-key");
  EXPECT_EQ(unwrapped(*master, wrapped), "wrong-key");
  // A node that may not encrypt can't tell it from trouble.
  server_->trouble("fail:0xc", "Encrypt", 2);
  EXPECT_EQ(reopened(record), "kms-unavailable");
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable");
  for (const std::string& odd :
       {std::string(), std::string("x"), std::string(63, 'a'), std::string(64, 'g'),
        std::string(64, 'A'), std::string(66, 'a')}) {
    record.version = odd;
    EXPECT_EQ(reopened(record), "corrupt") << odd;
  }
}

TEST_F(KmipMaster, KeysThatAreNone) {
  EXPECT_EQ(outcome_of(server_->uri("4711")), "kms-key-missing");
  EXPECT_EQ(outcome_of(server_->uri("no-number")), "kms-key-missing");
  const auto of_new = [this](const nlohmann::json& about) {
    return outcome_of(server_->new_key(about));
  };
  EXPECT_EQ(outcome_of(server_->uri(server_->ask({{"do", "secret"}}))), "unsupported");
  EXPECT_EQ(of_new({{"length", 128}}), "unsupported");
  EXPECT_EQ(of_new({{"algorithm", "CAMELLIA"}}), "unsupported");
  EXPECT_EQ(of_new({{"sensitive", false}}), "unsupported");
  EXPECT_EQ(of_new({{"masks", 4}}), "kms-key-disabled");
  EXPECT_EQ(of_new({{"masks", 8}}), "kms-key-disabled");
  EXPECT_EQ(of_new({{"owner", "other"}}), "kms-denied");
  EXPECT_EQ(of_new({{"state", "PRE_ACTIVE"}}), "kms-key-disabled");
  EXPECT_EQ(of_new({{"state", "DESTROYED"}}), "kms-key-missing");
  EXPECT_NE(words_of(server_->new_key({{"sensitive", false}})).find("Sensitive"),
            std::string::npos);
}

TEST_F(KmipMaster, AKeyThatMayBeUsedNoMore) {
  const auto master = open();
  const MasterKeyRecord record = master->describe();
  const ByteVector key = *master->wrap(key_, context_);
  const std::pair<const char*, const char*> states[] = {
      {"PRE_ACTIVE", "kms-key-disabled"},           {"DEACTIVATED", "kms-key-disabled"},
      {"COMPROMISED", "kms-key-disabled"},          {"DESTROYED", "kms-key-missing"},
      {"DESTROYED_COMPROMISED", "kms-key-missing"}, {"ACTIVE", "ok"}};
  for (const auto& [state, code] : states) {
    SCOPED_TRACE(state);
    change({{"state", state}});
    EXPECT_EQ(unwrapped(*master, key), code);
    EXPECT_EQ(wrapped(*master), code);
    EXPECT_EQ(reopened(record), code);
  }
  change({{"masks", 8}});
  EXPECT_EQ(reopened(record), "ok") << "a node that only reads";
  EXPECT_EQ(unwrapped(*master, key), "ok");
  EXPECT_EQ(wrapped(*master), "kms-key-disabled");
  change({{"masks", 4}});
  EXPECT_EQ(unwrapped(*master, key), "kms-key-disabled");
  change({{"masks", 12}});
  server_->ask({{"do", "destroy"}, {"uid", uid_}});
  EXPECT_EQ(unwrapped(*master, key), "kms-key-missing");
  EXPECT_EQ(reopened(record), "kms-key-missing");
}

TEST_F(KmipMaster, EachErrorHasItsCause) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const std::pair<const char*, const char*> known[] = {
      {"fail:1", "kms-key-missing"},
      {"fail:2", "kms-unavailable"},
      {"fail:4", "kms-unavailable"},
      {"fail:5", "kms-unavailable"},
      {"fail:8", "kms-unavailable"},
      {"fail:9", "kms-unavailable"},
      {"fail:0xb", "kms-denied"},
      {"fail:0xc:Not for you", "kms-denied"},
      {"fail:0xd", "kms-key-disabled"},
      {"fail:0x14", "kms-denied"},
      {"fail:0x15", "kms-denied"},
      // Once only: it was no damage.
      {"fail:7", "ok"},
      {"fail:0xa", "ok"},
      {"fail:0x100", "ok"},
      {"fail:0x8000", "ok"},
      {"head", "kms-unavailable"},
      {"swap", "kms-unavailable"},
      {"long", "kms-unavailable"},
      {"bytes:42007b0100000000", "kms-unavailable"},
      {"bytes:42007b01fffffff8", "kms-unavailable"},
      {"bytes:4200780100000000", "kms-unavailable"}};
  for (const auto& [kind, code] : known) {
    SCOPED_TRACE(kind);
    server_->trouble(kind, "Decrypt");
    EXPECT_EQ(unwrapped(*master, wrapped), code);
    EXPECT_EQ(unwrapped(*master, wrapped), "ok") << "it was the trouble's";
  }
  // A kept connection of which nothing comes is replaced, once.
  for (const char* const kind : {"close", "reset"}) {
    SCOPED_TRACE(kind);
    server_->trouble(kind, "Decrypt");
    EXPECT_EQ(unwrapped(*master, wrapped), "ok");
    server_->trouble(kind, "Decrypt", 2);
    EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable");
    EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  }
}

/// Refusals that may be of the wrapped key or of the server.
TEST_F(KmipMaster, DamageIsToldFromTrouble) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  ByteVector altered = wrapped;
  altered.back() ^= 1;
  EXPECT_EQ(unwrapped(*master, altered), "corrupt");
  server_->trouble("fail:0x100", "Decrypt", 4);
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable") << "the block opens no more either";
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable");
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
  server_->trouble("fail:0x100", "Encrypt", 1);
  EXPECT_EQ(this->wrapped(*master), "kms-unavailable");
  server_->trouble("fail:0x100", "Decrypt", 1);
  server_->trouble("close", "Get Attributes", 2);
  EXPECT_EQ(unwrapped(*master, wrapped), "ok") << "the state is not known, and the block opens";
  server_->trouble("fail:0xc", "Decrypt", 1);
  server_->trouble("fail:0xc", "Get Attributes", 1);
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-denied");
}

TEST_F(KmipMaster, AnswersThatAreNotToTheQuestion) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  const std::string uid = to_hex(as_bytes(uid_));
  const std::string uid_item = "420094070000000" + std::to_string(uid_.size()) + uid;
  const std::string other_uid = "420094070000000" + std::to_string(uid_.size()) + "39";
  for (const char* const operation : {"Encrypt", "Decrypt", "Get Attributes"}) {
    SCOPED_TRACE(operation);
    const auto patched = [&](const std::string& from, const std::string& to) {
      server_->trouble("patch:" + from + ":" + to, operation);
      if (operation == std::string("Encrypt")) return this->wrapped(*master);
      if (operation == std::string("Decrypt")) return unwrapped(*master, wrapped);
      return outcome();
    };
    EXPECT_EQ(patched(uid_item, other_uid), "kms-unavailable");
    EXPECT_EQ(patched("42007c", "42007d"), "kms-unavailable") << "no payload";
    EXPECT_EQ(patched("42007f050000000400000000", "42007f050000000400000002"), "kms-unavailable")
        << "pending";
    EXPECT_EQ(patched("42000d0200000004", "42000d0500000004"), "kms-unavailable") << "no count";
    EXPECT_EQ(patched("42006a020000000400000001", "42006a020000000400000002"), "kms-unavailable")
        << "KMIP 2";
    EXPECT_EQ(patched("4200930800000008", "4200940800000008"), "kms-unavailable") << "no id";
  }
  server_->trouble("patch:4200c208:4200c207", "Decrypt");
  EXPECT_EQ(unwrapped(*master, wrapped), "kms-unavailable") << "text";
  server_->trouble("patch:4200c20800000020:4200c2080000001f", "Decrypt");
  EXPECT_NE(unwrapped(*master, wrapped), "ok") << "a shorter key";
  server_->trouble("patch:4200ff08:42003d08", "Encrypt");
  EXPECT_EQ(this->wrapped(*master), "kms-unavailable") << "no tag, and another nonce";
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
}

TEST_F(KmipMaster, ManyKeysByOneRequest) {
  const auto master = open();
  EXPECT_EQ(master->batch_size(), 64U);
  std::vector<SecretBytes> keys;
  std::vector<KeyInPlace> placed;
  for (std::uint32_t i = 0; i < 64; ++i) keys.push_back(SecretBytes::random(32));
  for (std::uint32_t i = 0; i < 64; ++i) {
    placed.push_back({&keys[i], {}});
    placed.back().context.version = KeyVersion{i};
  }
  const auto check = [&](const Result<std::vector<ByteVector>>& wrapped) {
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    ASSERT_EQ(wrapped->size(), 64U);
    for (std::size_t i = 0; i < 64; ++i) {
      const auto key = master->unwrap((*wrapped)[i], placed[i].context);
      ASSERT_TRUE(key.ok()) << key.error().message();
      EXPECT_TRUE(constant_time_equal(key->expose(), keys[i].expose()));
    }
  };
  server_->seen();
  check(master->wrap_all(placed));
  const auto requests = server_->seen("Encrypt");
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].at("items"), 64);
  for (const auto& [kind, code] :
       std::initializer_list<std::pair<const char*, const char*>>{{"fail:0xc", "kms-denied"},
                                                                  {"fail:0x100", "kms-unavailable"},
                                                                  {"swap", "kms-unavailable"},
                                                                  {"half", "kms-unavailable"}}) {
    server_->trouble(kind, "Encrypt");
    const auto none = master->wrap_all(placed);
    ASSERT_FALSE(none.ok()) << kind;
    EXPECT_EQ(to_string(none.error().code), code) << kind;
  }
  const SecretBytes small(16);
  EXPECT_EQ(master->wrap_all(std::vector<KeyInPlace>{{&keys[0], {}}, {&small, {}}}).error().code,
            Code::kInvalid);
  // A server that takes no batches is asked one by one, and is not tried with them again.
  server_->trouble("fail:8", "Encrypt");
  server_->seen();
  check(master->wrap_all(placed));
  EXPECT_EQ(server_->seen("Encrypt").size(), 65U);
  ASSERT_TRUE(master->wrap_all(placed).ok());
  EXPECT_EQ(server_->seen("Encrypt").size(), 64U);
  // Nor is one that then does not answer one that is too slow for many.
  server_->stop();
  EXPECT_EQ(master->wrap_all(std::span(placed).first(1)).error().code, Code::kKmsUnavailable);
  EXPECT_EQ(master->wrap_all(placed).error().code, Code::kKmsUnavailable);
}

TEST_F(KmipMaster, WhatTheServerTellsOfItself) {
  const auto facts = open()->inspect();
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(testing::facts_of_the_key(*facts),
            "protocol=KMIP 1.4;key state=Active;sensitive=yes;extractable=not told;we are=CN=node;"
            "key made=2023-11-14T22:13:20Z;");
  EXPECT_EQ(testing::fact(*facts, "connection"), "TLSv1.2");
  for (const char* const end : {"our certificate ends", "its certificate ends"})
    EXPECT_TRUE(testing::fact(*facts, end).starts_with("20")) << testing::fact(*facts, end);
}

TEST_F(KmipMaster, WhoMayDoNothingAtAll) {
  server_->trouble("fail:0xc:Not for you", "", 100);
  EXPECT_EQ(outcome(), "kms-denied");
}

TEST_F(KmipMaster, OtherVersionsOfTheProtocol) {
  const MasterKeyRecord record = open()->describe();
  server_->ask({{"do", "versions"}, {"known", {{1, 2}, {1, 1}, {1, 0}}}});
  EXPECT_EQ(outcome(), "unsupported");
  EXPECT_NE(words_of(uri_).find("KMIP 1.4"), std::string::npos);
  EXPECT_EQ(reopened(record), "unsupported");
  server_->ask({{"do", "versions"}, {"known", {{2, 0}, {1, 4}}}});
  EXPECT_EQ(outcome(), "ok");
  server_->trouble("fail:0x100", "Discover Versions");
  EXPECT_EQ(outcome(), "kms-unavailable");
  server_->trouble("fail:5", "Discover Versions");
  EXPECT_EQ(outcome(), "unsupported");
}

/// It would unwrap keys that were moved.
TEST_F(KmipMaster, AServerThatDoesNotHeedAdditionalData) {
  server_->ask({{"do", "forget_additional_data"}});
  EXPECT_EQ(outcome(), "unsupported");
  EXPECT_NE(words_of(uri_).find("additional data"), std::string::npos);
}

TEST_F(KmipMaster, ConnectionsEndUnderManyThreads) {
  const auto master = open();
  const ByteVector wrapped = *master->wrap(key_, context_);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto code = unwrapped(*master, wrapped);
        if (code != "ok" && code != "kms-unavailable") ++failures;
      }
    });
  }
  for (int i = 0; i < 5; ++i) server_->ask({{"do", "disconnect"}});
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  server_->ask({{"do", "disconnect"}});
  EXPECT_EQ(unwrapped(*master, wrapped), "ok");
}

}  // namespace
}  // namespace coffer
