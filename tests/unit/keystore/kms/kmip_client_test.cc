// How the KMIP client gets through to its server: certificates, credentials, settings, deadlines.

#include "keystore/kms/kmip_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "keystore/base/unique_fd.h"
#include "keystore/kms/kmip_kms.h"
#include "keystore/kms/tcp_connect.h"
#include "tests/support/privileges.h"
#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using testing::KmipServer;
using testing::set_variable;

KmipClient::Time in(int ms) { return std::chrono::steady_clock::now() + milliseconds(ms); }

class KmipNode : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_kmip_server()) COFFER_SKIP("no python3-pykmip");
    server_.emplace();
    uri_ = server_->new_key();
  }
  [[nodiscard]] static std::string outcome_of(const std::string& uri) {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] static std::string words_of(const std::string& uri) {
    const auto master = create_master(uri, no_passphrase);
    return master ? "ok" : master.error().message();
  }
  [[nodiscard]] static std::string reopened(const MasterKeyRecord& record) {
    const auto master = open_master(record, no_passphrase);
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] Result<std::unique_ptr<MasterKms>> opened() const {
    return create_kmip_master(uri_, no_passphrase);
  }
  [[nodiscard]] std::string outcome() const {
    const auto master = opened();
    return master ? "ok" : std::string(to_string(master.error().code));
  }
  [[nodiscard]] std::string words() const {
    const auto master = opened();
    return master ? "ok" : master.error().message();
  }
  [[nodiscard]] std::string wrapped(MasterKms& master) const {
    const auto done = master.wrap(SecretBytes::random(32), {});
    return done ? "ok" : std::string(to_string(done.error().code));
  }
  [[nodiscard]] static std::vector<KmipRequestItem> question() {
    std::vector<KmipRequestItem> items;
    items.emplace_back(KmipOperation::kGetAttributes, KmipKey::request("1"));
    return items;
  }
  [[nodiscard]] std::string content_of(const std::string& name) const {
    std::ifstream stream(server_->file(name));
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::optional<KmipServer> server_;
  std::string uri_;
};

TEST_F(KmipNode, UrisThatCannotBe) {
  const std::string base = "kmip://" + server_->host();
  for (const std::string& uri :
       {std::string("kmip://"), base, base + "/", base + "//1", base + "/1/2",
        base + "/1?user=7531", base + "/1#x", base + "/a%31", base + "/a b", base + "/a@7531",
        base + "/" + std::string(129, 'a'), std::string("kmip://127.0.0.1:0/1"),
        std::string("kmip://127.0.0.1:99999/1"), std::string("kmip://127.0.0.1:/1"),
        std::string("kmip://:5696/1"), std::string("kmip://[::1/1"),
        std::string("kmip://user:7531@127.0.0.1/1")}) {
    EXPECT_EQ(outcome_of(uri), "invalid") << uri;
    EXPECT_EQ(words_of(uri).find("7531"), std::string::npos) << words_of(uri);
  }
}

/// Whoever alters a keystore would have the node's keys brought to him.
TEST_F(KmipNode, OnlyTheNodesOwnServerIsAsked) {
  MasterKeyRecord record = (*opened())->describe();
  server_->seen();
  for (const char* const server :
       {"kmip.example.com", "127.0.0.1:1", "127.0.0.1", "https://127.0.0.1:1", "user@127.0.0.1:1",
        "127.0.0.1:1/x", ""}) {
    set_variable("COFFER_KMIP_SERVER", server);
    EXPECT_EQ(reopened(record), "key-unavailable") << server;
    EXPECT_EQ(outcome(), "key-unavailable") << server;
  }
  EXPECT_EQ(server_->seen().size(), 0U);
  const std::string port = server_->host().substr(9);
  set_variable("COFFER_KMIP_SERVER", "LOCALHOST" + port);
  EXPECT_EQ(reopened(record), "key-unavailable") << "an address is no name";
  record.uri = "kmip://Localhost" + port + uri_.substr(uri_.rfind('/'));
  EXPECT_EQ(reopened(record), "ok");
}

TEST_F(KmipNode, OnlyAServerThatVerifies) {
  for (const char* const certificate : {"other-host", "other-ca", "expired"}) {
    SCOPED_TRACE(certificate);
    server_->restart({"--certificate", certificate});
    EXPECT_EQ(outcome(), "kms-unavailable");
    EXPECT_NE(words().find("does not verify"), std::string::npos) << words();
    EXPECT_EQ(server_->seen().size(), 0U);
  }
  server_->restart({"--tls", "1.1"});
  EXPECT_EQ(outcome(), "kms-unavailable") << "too old a TLS";
  server_->restart({"--tls", "1.3"});
  EXPECT_EQ(outcome(), "ok");
  set_variable("COFFER_KMIP_CA", server_->file("another-ca.pem"));
  EXPECT_EQ(outcome(), "kms-unavailable");
  set_variable("COFFER_KMIP_CA", "");
  EXPECT_EQ(outcome(), "kms-unavailable") << "the system does not know its CA";
  set_variable("COFFER_KMIP_CA", server_->file("nothing"));
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(KmipNode, APinnedKey) {
  set_variable("COFFER_KMIP_PIN_SHA256", server_->pin());
  EXPECT_EQ(outcome(), "ok");
  const std::string other = (server_->pin()[0] == 'A' ? "B" : "A") + server_->pin().substr(1);
  set_variable("COFFER_KMIP_PIN_SHA256", other);
  EXPECT_EQ(outcome(), "kms-unavailable");
  EXPECT_NE(words().find("pinned"), std::string::npos) << words();
  for (const char* const odd : {"x", "AAAA", "sha256//AAAA"}) {
    set_variable("COFFER_KMIP_PIN_SHA256", odd);
    EXPECT_EQ(outcome(), "key-unavailable") << odd;
  }
}

TEST_F(KmipNode, CertificatesOfOurs) {
  for (const char* const tls : {"1.2", "1.3"}) {
    SCOPED_TRACE(tls);
    server_->restart({"--tls", tls});
    for (const char* const refused : {"node-expired", "node-foreign", "no-usage", "other"}) {
      SCOPED_TRACE(refused);
      server_->use_certificate(refused);
      EXPECT_EQ(outcome(), "kms-denied") << words();
    }
    server_->use_certificate("node");
    EXPECT_EQ(outcome(), "ok");
  }
  set_variable("COFFER_KMIP_CLIENT_KEY", server_->file("other.key"));
  EXPECT_EQ(outcome(), "key-unavailable") << "of another certificate";
  set_variable("COFFER_KMIP_CLIENT_KEY", server_->write("odd.key", "no key\n"));
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_KMIP_CLIENT_KEY", server_->write("open.key", content_of("node.key"), 0644));
  EXPECT_EQ(outcome(), "key-unavailable");
  EXPECT_NE(words().find("chmod 600"), std::string::npos) << words();
  server_->use_certificate("nothing");
  EXPECT_EQ(outcome(), "key-unavailable");
}

/// A daemon is not started anew for it.
TEST_F(KmipNode, ACertificateIsRenewedInMidRun) {
  server_->ask({{"do", "issue"}, {"file", "own"}, {"subject", "node"}});
  server_->use_certificate("own");
  const auto master = opened();
  ASSERT_TRUE(master.ok()) << master.error().message();
  EXPECT_EQ(wrapped(**master), "ok");
  // The server takes the kept connection's user no more.
  server_->seen();
  server_->ask({{"do", "refuse"}, {"times", 1}});
  EXPECT_EQ(wrapped(**master), "ok");
  const auto seen = server_->seen();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_NE(seen[0].at("session"), seen[1].at("session"));
  server_->ask({{"do", "refuse"}, {"times", 2}});
  EXPECT_EQ(wrapped(**master), "kms-denied") << "once a call";
  EXPECT_EQ(server_->seen().size(), 2U);
  // It has run out, and then there is a new one.
  server_->ask({{"do", "issue"}, {"file", "own"}, {"subject", "node"}, {"days_ago", 30}});
  server_->ask({{"do", "disconnect"}});
  EXPECT_EQ(wrapped(**master), "kms-denied");
  server_->ask({{"do", "issue"}, {"file", "own"}, {"subject", "node"}});
  EXPECT_EQ(wrapped(**master), "ok");
}

TEST_F(KmipNode, AConnectionIsUsedAgain) {
  const auto master = opened();
  ASSERT_TRUE(master.ok()) << master.error().message();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wrapped(**master), "ok");
  for (const auto& request : server_->seen()) EXPECT_EQ(request.at("session"), "1");
}

TEST_F(KmipNode, AUserAndAPassword) {
  const std::string secret = "correct-horse-battery";
  set_variable("COFFER_KMIP_USER", "node");
  EXPECT_EQ(outcome(), "key-unavailable") << "no password";
  const std::string path = server_->write("password", secret + "\nmore\n");
  set_variable("COFFER_KMIP_PASSWORD_FILE", path);
  const auto master = opened();
  ASSERT_TRUE(master.ok()) << master.error().message();
  for (const auto& request : server_->seen()) {
    const std::string text = request.at("request");
    EXPECT_NE(text.find(to_hex(as_bytes(secret))), std::string::npos);
    EXPECT_EQ(text.find(to_hex(as_bytes("more"))), std::string::npos);
  }
  server_->trouble("echo", "Encrypt", 2);
  const auto refused = (*master)->wrap(SecretBytes::random(32), {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message().find("correct-horse"), std::string::npos);
  server_->write("password", secret, 0644);
  EXPECT_EQ(outcome(), "key-unavailable");
  set_variable("COFFER_KMIP_USER", "");
  EXPECT_EQ(outcome(), "key-unavailable") << "a password of nobody";
}

TEST_F(KmipNode, TheNodesFile) {
  const std::string text = "# of this node\nCOFFER_KMIP_SERVER=" + server_->host() +
                           "\nCOFFER_KMIP_CA = " + server_->file("ca.pem") + "\n" +
                           "COFFER_KMIP_CLIENT_CERT=" + server_->file("node.pem") + "\n" +
                           "COFFER_KMIP_CLIENT_KEY=" + server_->file("node.key") + "\n";
  for (const char* const name : {"COFFER_KMIP_SERVER", "COFFER_KMIP_CA", "COFFER_KMIP_CLIENT_CERT",
                                 "COFFER_KMIP_CLIENT_KEY"})
    set_variable(name, "");
  const auto use = [&](const std::string& content, unsigned mode = 0600) {
    set_variable("COFFER_KMIP_CONFIG", server_->write("kmip.conf", content, mode));
  };
  use(text);
  EXPECT_EQ(outcome(), "ok");
  for (const unsigned mode : {0664U, 0646U, 0666U}) {
    use(text, mode);
    EXPECT_EQ(outcome(), "key-unavailable") << mode;
  }
  use(text + "COFFER_KMIP_PASSWORD=7531\n");
  EXPECT_EQ(outcome(), "key-unavailable") << "a password has a file of its own";
  EXPECT_EQ(words().find("7531"), std::string::npos);
  use(text.substr(0, text.rfind("COFFER_KMIP_CLIENT_KEY")));
  EXPECT_EQ(outcome(), "key-unavailable") << "no key";
  use(text);
  set_variable("COFFER_KMIP_SERVER", "kmip.example.com");
  EXPECT_EQ(outcome(), "key-unavailable") << "the environment comes first";
  set_variable("COFFER_KMIP_SERVER", server_->host());
  set_variable("COFFER_KMIP_CONFIG", server_->file("nothing"));
  EXPECT_EQ(outcome(), "key-unavailable") << "one that is named has to be there";
}

TEST_F(KmipNode, TheNodesFileIsNoOtherUsers) {
  if (!testing::is_root()) COFFER_SKIP("only root can give a file away");
  const std::string path = server_->write("kmip.conf", "");
  ASSERT_EQ(::chown(path.c_str(), 1234, 1234), 0);
  set_variable("COFFER_KMIP_CONFIG", path);
  EXPECT_EQ(outcome(), "key-unavailable");
}

TEST_F(KmipNode, AnAnswerThatDoesNotCome) {
  KmipClient client(*KmipSettings::of_this_node());
  ASSERT_TRUE(client.ask(question(), in(8000)).ok());
  for (const char* const kind : {"hang", "slow"}) {
    SCOPED_TRACE(kind);
    server_->trouble(kind);
    const auto answer = client.ask(question(), in(300));
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, Code::kKmsUnavailable);
    EXPECT_NE(answer.error().message().find("in time"), std::string::npos)
        << answer.error().message();
    server_->ask({{"do", "calm"}});
    EXPECT_TRUE(client.ask(question(), in(8000)).ok()) << "on another connection";
  }
  EXPECT_EQ(client.ask(question(), in(-1)).error().code, Code::kKmsUnavailable);
}

/// Somebody who listens, and says nothing or no TLS.
TEST_F(KmipNode, WhoeverAnswersInItsPlace) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  ASSERT_EQ(::bind(listener.get(), plain, length), 0);
  ASSERT_EQ(::getsockname(listener.get(), plain, &length), 0);
  KmipSettings settings = *KmipSettings::of_this_node();
  settings.server.port = ntohs(address.sin_port);
  KmipClient client(settings);
  const auto said = [&](int ms) {
    const auto answer = client.ask(question(), in(ms));
    return answer ? Code::kExists : answer.error().code;
  };
  EXPECT_EQ(said(8000), Code::kKmsUnavailable) << "nobody listens yet";
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  EXPECT_EQ(said(300), Code::kKmsUnavailable) << "it accepts, and that is all";
  ::close(::accept(listener.get(), nullptr, nullptr));
  std::thread speaker([&] {
    const UniqueFd peer(::accept(listener.get(), nullptr, nullptr));
    const std::string words = "SSH-2.0-OpenSSH_9.2\r\n";
    EXPECT_EQ(::send(peer.get(), words.data(), words.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(words.size()));
  });
  EXPECT_EQ(said(8000), Code::kKmsUnavailable);
  speaker.join();
}

TEST(TcpConnect, NamesAndAddresses) {
  const UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  if (::bind(listener.get(), plain, length) == 0) {
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ASSERT_EQ(::getsockname(listener.get(), plain, &length), 0);
    EXPECT_TRUE(tcp_connect({"[::1]", ntohs(address.sin6_port)}, in(8000)).ok());
  }
  const auto nobody = tcp_connect({"no-such-host.invalid", 5696}, in(8000));
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code, Code::kKmsUnavailable);
  EXPECT_EQ(without_brackets("[::1]"), "::1");
  EXPECT_EQ(without_brackets("kmip.test"), "kmip.test");
}

}  // namespace
}  // namespace coffer
