// The HTTP client against a server that may misbehave.

#include "keystore/kms/http_client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::TransitServer;

class Http : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
  }
  void serve(const std::vector<std::string>& options = {}) {
    server_.emplace(options);
    settings_.ca_file = server_->file("ca.pem");
  }
  Result<HttpResponse> get(const std::string& url, milliseconds within = seconds(30)) {
    HttpRequest request;
    request.url = url;
    request.headers = {"X-Vault-Request: true"};
    return HttpClient(settings_).send(request, steady_clock::now() + within);
  }
  Result<HttpResponse> get(milliseconds within = seconds(30)) { return get(url(), within); }
  [[nodiscard]] std::string url() const { return "https://" + server_->host() + "/v1/sys/health"; }
  std::string outcome() {
    const auto response = get();
    return response ? std::to_string(response->status) : response.error().message();
  }
  void expect_unavailable(const std::string& words) {
    const auto response = get();
    ASSERT_FALSE(response.ok()) << response->status;
    EXPECT_EQ(response.error().code, Code::kKmsUnavailable) << response.error().message();
    EXPECT_NE(response.error().message().find(words), std::string::npos)
        << response.error().message();
  }

  std::optional<TransitServer> server_;
  HttpSettings settings_;
};

TEST_F(Http, AnAnswerWithItsHeaders) {
  serve();
  const auto response = get();
  ASSERT_TRUE(response.ok()) << response.error().message();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->headers.at("content-type"), "application/json");
  EXPECT_FALSE(nlohmann::json::parse(as_text(response->body.expose())).at("sealed").get<bool>());
  EXPECT_EQ(get("https://" + server_->host() + "/v1/nothing")->status, 403) << "not a failure here";
}

TEST_F(Http, WhatAConnectionShows) {
  serve();
  const auto look = [this](const std::string& address) {
    return HttpClient(settings_).look(address, steady_clock::now() + seconds(30));
  };
  const auto facts = look("https://" + server_->host());
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  ASSERT_TRUE(facts->has_value());
  EXPECT_EQ((*facts)->protocol, "TLSv1.3");
  EXPECT_EQ((*facts)->their_issuer, "CN=ca of the test");
  EXPECT_EQ((*facts)->their_pin_sha256, server_->pin());
  EXPECT_GT((*facts)->their_valid_until, std::time(nullptr));
  EXPECT_EQ((*facts)->own_subject, "");
  EXPECT_EQ(server_->seen(""), 0U) << "nothing was asked";
  settings_.client_cert = server_->file("client.pem");
  settings_.client_key = server_->file("client.key");
  const auto with_ours = look("https://" + server_->host());
  ASSERT_TRUE(with_ours.ok() && with_ours->has_value());
  EXPECT_EQ((*with_ours)->own_subject, "CN=client");
  settings_.pin_sha256 = std::string(43, 'A') + "=";
  EXPECT_EQ(look("https://" + server_->host()).error().code, Code::kKmsUnavailable);
  settings_.ca_file = server_->file("another-ca.pem");
  const auto of_another = look("https://" + server_->host());
  ASSERT_FALSE(of_another.ok());
  EXPECT_NE(of_another.error().message().find("does not verify"), std::string::npos);
  EXPECT_EQ(look("http://" + server_->host()).error().code, Code::kInvalid);
  settings_.plain_http = true;
  EXPECT_FALSE(look("http://127.0.0.1:1").value().has_value());
}

TEST_F(Http, BodiesAndSecretHeadersArrive) {
  serve();
  const std::string token =
      server_->ask({{"do", "api"}, {"path", "auth/token/create"}}).at("auth").at("client_token");
  const SecretBytes header = SecretBytes::copy_of(as_bytes("X-Vault-Token: " + token));
  HttpRequest request;
  request.method = "POST";
  request.url = "https://" + server_->host() + "/v1/sys/mounts/x";
  request.headers = {"X-Vault-Request: true"};
  request.secret_header = &header;
  request.body = SecretBytes::copy_of(as_bytes(R"({"type":"transit"})"));
  const auto response = HttpClient(settings_).send(request, steady_clock::now() + seconds(30));
  ASSERT_TRUE(response.ok()) << response.error().message();
  EXPECT_EQ(response->status, 403) << "known, and not root's";
}

TEST_F(Http, OnlyWhomTheCaKnows) {
  serve();
  settings_.ca_file = server_->file("another-ca.pem");
  expect_unavailable("certificate does not verify");
  settings_.ca_file.clear();
  expect_unavailable("certificate does not verify");
  settings_.ca_file = server_->file("nothing.pem");
  EXPECT_EQ(get().error().code, Code::kKeyUnavailable);
  settings_.ca_file = server_->file("ca.pem");
  for (const char* const certificate : {"other-ca", "other-host", "expired"}) {
    server_->restart({"--certificate", certificate});
    expect_unavailable("certificate does not verify");
  }
  server_->restart();
  EXPECT_EQ(outcome(), "200");
  EXPECT_EQ(
      get("https://localhost" + url().substr(std::string("https://127.0.0.1").size()))->status,
      200);
}

TEST_F(Http, OnlyThePinnedKey) {
  serve();
  settings_.pin_sha256 = server_->pin();
  EXPECT_EQ(outcome(), "200");
  settings_.pin_sha256[0] = settings_.pin_sha256[0] == 'A' ? 'B' : 'A';
  expect_unavailable("not the pinned one");
  settings_.pin_sha256 = server_->pin();
  settings_.ca_file = server_->file("another-ca.pem");
  expect_unavailable("certificate does not verify");
}

TEST_F(Http, AClientsCertificate) {
  serve({"--client-certificate"});
  EXPECT_EQ(get().error().code, Code::kKmsUnavailable);
  settings_.client_cert = server_->file("client.pem");
  settings_.client_key = server_->file("client.key");
  EXPECT_EQ(outcome(), "200");
  settings_.client_key = server_->file("good.key");
  EXPECT_EQ(get().error().code, Code::kKeyUnavailable);
  settings_.client_key = server_->file("nothing.key");
  EXPECT_EQ(get().error().code, Code::kKeyUnavailable);
}

TEST_F(Http, NoTlsBelow12) {
  serve({"--newest-tls", "1.1"});
  EXPECT_EQ(get().error().code, Code::kKmsUnavailable);
}

TEST_F(Http, PlainTextIsForLoopbackAndWhoAsksForIt) {
  serve({"--plain"});
  const std::string plain = "http://" + server_->host() + "/v1/sys/health";
  EXPECT_EQ(get(plain).error().code, Code::kInvalid);
  settings_.plain_http = true;
  EXPECT_EQ(get(plain)->status, 200);
  for (const char* const other :
       {"http://192.0.2.1/", "http://128.0.0.1/", "http://vault.example.com/",
        "http://127.0.0.1.example.com/", "http://localhost.example.com/", "http://[2001:db8::1]/",
        "http://user@127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/", "dict://127.0.0.1/",
        "nothing", ""})
    EXPECT_EQ(get(other).error().code, Code::kInvalid) << other;
  // Whatever proxy is named.
  testing::set_variable("http_proxy", "http://127.0.0.1:1");
  EXPECT_EQ(get(plain)->status, 200);
}

TEST_F(Http, ASchemeIsInLowerCase) {
  // Or the rule that plain text goes by no proxy would have to know other spellings.
  settings_.plain_http = true;
  for (const char* const odd : {"HTTP://127.0.0.1/", "Https://127.0.0.1/", "http:/127.0.0.1/"})
    EXPECT_EQ(get(odd).error().code, Code::kInvalid) << odd;
}

TEST_F(Http, PlainTextForHostsThatAreNamed) {
  settings_.plain_http_hosts = {"192.0.2.1"};
  EXPECT_EQ(get("http://192.0.2.1/").error().code, Code::kInvalid) << "not asked for";
  settings_.plain_http = true;
  settings_.connect_timeout = settings_.timeout = milliseconds(100);
  EXPECT_EQ(get("http://192.0.2.1/").error().code, Code::kKmsUnavailable) << "it is asked";
  EXPECT_EQ(get("http://192.0.2.1:8080/").error().code, Code::kKmsUnavailable);
  for (const char* const other : {"http://192.0.2.10/", "http://192.0.2.1.example.com/",
                                  "http://x.192.0.2.1/", "http://user@192.0.2.1/"})
    EXPECT_EQ(get(other).error().code, Code::kInvalid) << other;
}

TEST_F(Http, TheProxyOfTheEnvironment) {
  serve();
  testing::set_variable("https_proxy", "http://127.0.0.1:1");
  EXPECT_EQ(get().error().code, Code::kKmsUnavailable);
  testing::set_variable("no_proxy", "127.0.0.1");
  EXPECT_EQ(outcome(), "200");
}

TEST_F(Http, RedirectsAreNotFollowed) {
  serve();
  server_->trouble("redirect");
  expect_unavailable("redirect");
  EXPECT_EQ(server_->seen(""), 1U);
}

TEST_F(Http, AnswersThatAreNone) {
  serve();
  for (const char* const kind : {"reset", "close", "half", "garbage", "long"}) {
    SCOPED_TRACE(kind);
    server_->trouble(kind);
    const auto response = get();
    ASSERT_FALSE(response.ok()) << response->status;
    EXPECT_EQ(response.error().code, Code::kKmsUnavailable) << response.error().message();
    EXPECT_EQ(outcome(), "200");
  }
}

TEST_F(Http, NoAnswerInTime) {
  serve();
  for (const char* const kind : {"hang", "slow"}) {
    SCOPED_TRACE(kind);
    server_->trouble(kind);
    auto response = get(milliseconds(300));
    ASSERT_FALSE(response.ok());
    EXPECT_EQ(response.error().code, Code::kKmsUnavailable);
    EXPECT_NE(response.error().message().find("in time"), std::string::npos);
    settings_.timeout = milliseconds(300);
    server_->trouble(kind);
    response = get();
    ASSERT_FALSE(response.ok());
    EXPECT_EQ(response.error().code, Code::kKmsUnavailable);
    settings_.timeout = seconds(8);
    server_->ask({{"do", "calm"}});
  }
  EXPECT_EQ(get(milliseconds(-1)).error().code, Code::kKmsUnavailable);
}

TEST_F(Http, NobodyListens) {
  serve();
  server_->stop();
  EXPECT_EQ(get().error().code, Code::kKmsUnavailable);
  EXPECT_EQ(get("https://nowhere.invalid/").error().code, Code::kKmsUnavailable);
}

TEST_F(Http, AQueryIsInNoMessage) {
  serve();
  server_->stop();
  EXPECT_EQ(get(url() + "?sig=7531").error().message().find("7531"), std::string::npos);
}

TEST_F(Http, ManyThreadsShareAClient) {
  serve();
  const HttpClient client(settings_);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        HttpRequest request;
        request.url = url();
        request.headers = {"X-Vault-Request: true"};
        const auto response = client.send(request, steady_clock::now() + seconds(30));
        if (!response || response->status != 200) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace coffer
