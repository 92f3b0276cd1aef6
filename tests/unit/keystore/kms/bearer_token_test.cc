// Tokens that are kept, got anew before their end, and once when refused; no network.

#include "keystore/kms/bearer_token.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace coffer {
namespace {

using std::chrono::seconds;

class Bearer : public ::testing::Test {
 protected:
  /// One after the other: "1", "2", ….
  Result<BearerToken> next() {
    ++got_;
    if (failing_) return Error{Code::kKmsUnavailable, 0, "no token now"};
    return BearerToken::of(as_bytes(std::to_string(same_ ? 1 : got_.load())), lifetime_);
  }
  /// What a call with a server ends with that takes tokens from `least_` on.
  std::string call() {
    const auto send = [this](const SecretBytes& header) -> Result<HttpResponse> {
      const std::string token(as_text(header.expose()).substr(22));
      used_ = token;
      return HttpResponse{std::stoi(token) >= least_ ? 200L : 401L, {}, {}};
    };
    const auto response = tokens_.call(send, std::chrono::steady_clock::now() + seconds(8));
    return response ? std::to_string(response->status) : response.error().message();
  }

  std::optional<seconds> lifetime_ = seconds(3600);
  std::atomic<int> got_{0};
  int least_ = 1;
  bool failing_ = false;
  bool same_ = false;
  std::string used_;
  BearerTokens::Time now_{};
  BearerTokens tokens_{[this](BearerTokens::Time) { return next(); }, [this] { return now_; }};
};

TEST_F(Bearer, OneTokenForAllCalls) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 1);
}

TEST_F(Bearer, AnotherOnceItIsOver) {
  lifetime_ = seconds(0);
  EXPECT_EQ(call(), "200");
  lifetime_ = std::nullopt;
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "2");
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 2) << "no end is known";
}

TEST_F(Bearer, AnotherOnceWhenItIsRefused) {
  EXPECT_EQ(call(), "200");
  least_ = 2;
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 2);
  least_ = 100;
  EXPECT_EQ(call(), "401");
  EXPECT_EQ(got_, 3) << "one more, no matter what becomes of it";
  EXPECT_EQ(call(), "401");
  EXPECT_EQ(got_, 3) << "one that was never taken is no older than that";
}

TEST_F(Bearer, TheSameOneAgainIsNotTried) {
  same_ = true;
  EXPECT_EQ(call(), "200");
  least_ = 2;
  EXPECT_EQ(call(), "401");
  EXPECT_EQ(got_, 2);
}

TEST_F(Bearer, NoTokenToBeHad) {
  failing_ = true;
  EXPECT_EQ(call(), "no token now");
  failing_ = false;
  EXPECT_EQ(call(), "200");
  failing_ = true;
  EXPECT_EQ(call(), "200") << "there is one";
  least_ = 100;
  EXPECT_EQ(call(), "no token now");
}

TEST_F(Bearer, ItIsRenewedInItsLastTenth) {
  lifetime_ = seconds(100);
  EXPECT_EQ(call(), "200");
  now_ += seconds(89);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 1);
  now_ += seconds(1);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "2");
  lifetime_ = seconds(43200);
  now_ += seconds(99);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "3");
  now_ += seconds(43200 - 226);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "3") << "no earlier than metadata servers give another";
  now_ += seconds(1);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "4");
}

TEST_F(Bearer, ARenewalThatFailsIsNotTriedByEachCall) {
  EXPECT_EQ(call(), "200");
  failing_ = true;
  now_ += seconds(3400);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 2);
  now_ += seconds(10);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 3);
  now_ += seconds(190);
  EXPECT_EQ(call(), "no token now") << "it is over";
  failing_ = false;
  EXPECT_EQ(call(), "200");
}

TEST_F(Bearer, AShortOneIsTriedAgainBeforeItIsOver) {
  lifetime_ = seconds(20);
  EXPECT_EQ(call(), "200");
  failing_ = true;
  now_ += seconds(18);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(call(), "200");
  EXPECT_EQ(got_, 2);
  failing_ = false;
  now_ += seconds(1);
  EXPECT_EQ(call(), "200");
  EXPECT_EQ(used_, "3");
}

TEST_F(Bearer, OneThatWasNeverTakenIsTriedAnewAfterAWhile) {
  least_ = 2;
  EXPECT_EQ(call(), "401");
  now_ += seconds(30);
  EXPECT_EQ(call(), "200");
}

TEST_F(Bearer, ManyThreadsGetOneAfterARefusal) {
  EXPECT_EQ(call(), "200");
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  std::atomic<int> calls{0};
  const auto send = [&](const SecretBytes& header) -> Result<HttpResponse> {
    ++calls;
    return HttpResponse{as_text(header.expose()).ends_with(" 1") ? 401L : 200L, {}, {}};
  };
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        const auto response = tokens_.call(send, std::chrono::steady_clock::now() + seconds(30));
        if (!response || response->status != 200) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_LE(got_, 9);
  EXPECT_LE(calls, 816);
}

HttpResponse answer(long status, const std::string& body) {
  return {status, {}, SecretBytes::copy_of(as_bytes(body))};
}

TEST(BearerAnswers, Tokens) {
  const auto good = BearerToken::from_oauth(
      answer(200, R"({"access_token":"abc","expires_in":3599,"token_type":"Bearer"})"), "here");
  ASSERT_TRUE(good.ok()) << good.error().message();
  EXPECT_EQ(as_text(good->header.expose()), "Authorization: Bearer abc");
  EXPECT_EQ(good->lifetime, seconds(3599));
  const std::pair<const char*, std::optional<seconds>> lifetimes[] = {
      {R"("86399")", seconds(86399)},
      {R"("x")", std::nullopt},
      {R"("1x")", std::nullopt},
      {"null", std::nullopt},
      {"-1", std::nullopt},
      {"1.5", std::nullopt},
      {"18446744073709551615", seconds(1U << 30U)}};
  for (const auto& [text, lifetime] : lifetimes) {
    const auto token = BearerToken::from_oauth(
        answer(200, R"({"access_token":"abc","token_type":"Bearer","expires_in":)" +
                        std::string(text) + "}"),
        "here");
    ASSERT_TRUE(token.ok()) << text;
    EXPECT_EQ(token->lifetime, lifetime) << text;
  }
}

TEST(BearerAnswers, WhatIsNone) {
  for (const char* const body :
       {"", "[]", "{}", R"({"access_token":""})", R"({"access_token":"abc"})",
        R"({"access_token":"a b","token_type":"Bearer"})",
        R"({"access_token":"a\n","token_type":"Bearer"})",
        R"({"access_token":"abc","token_type":"MAC"})",
        R"({"access_token":1,"token_type":"Bearer"})",
        R"({"x":{"access_token":"abc"},"token_type":"Bearer"})",
        R"({"access_token":"abc","token_type":"Bearer","id_token":1})"}) {
    const auto token = BearerToken::from_oauth(answer(200, body), "here");
    ASSERT_FALSE(token.ok()) << body;
    EXPECT_EQ(token.error().code, Code::kKmsUnavailable) << body;
  }
}

TEST(BearerAnswers, Refusals) {
  const auto code = [](long status, const std::string& body) {
    return BearerToken::from_oauth(answer(status, body), "here").error().code;
  };
  EXPECT_EQ(code(400, R"({"error":"invalid_grant"})"), Code::kKmsDenied);
  EXPECT_EQ(code(401, R"({"error":"invalid_client"})"), Code::kKmsDenied);
  EXPECT_EQ(code(400, R"({"error":"temporarily_unavailable"})"), Code::kKmsUnavailable);
  EXPECT_EQ(code(400, R"({"error":{"status":"X"}})"), Code::kKmsUnavailable);
  EXPECT_EQ(code(400, "<html>"), Code::kKmsUnavailable);
  EXPECT_EQ(code(429, R"({"error":"invalid_grant"})"), Code::kKmsUnavailable);
  EXPECT_EQ(code(500, R"({"error":"invalid_grant"})"), Code::kKmsUnavailable);
  const Error error = oauth_refusal(
      answer(400,
             R"({"error":"invalid_grant","error_description":"no eyJhbGciOiJSUzI1NiIsInR5 x"})"),
      "here");
  EXPECT_EQ(error.context, "here refuses a token (400): invalid_grant no ... x");
}

}  // namespace
}  // namespace coffer
