// How long credentials are used, and what the clock has to do with it.

#include "keystore/kms/aws_session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "tests/unit/keystore/kms/aws_test.h"

namespace coffer {
namespace {

constexpr const char* kRole = "security-credentials/machine-role";

class AwsSessions : public AwsTest {};

TEST_F(AwsSessions, ARefusalCostsNoLoginEachTime) {
  server_->use_machine();
  const auto master = open();
  server_->allow("machine-role", {});
  server_->seen("");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen(kRole), 0U) << "others would be refused as well";
  server_->trouble("status:400:UnrecognizedClientException", "Encrypt", 100);
  EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen(kRole), 1U);
  EXPECT_EQ(wrapping(*master), "kms-denied");
  EXPECT_EQ(server_->seen(kRole), 0U) << "those were never taken";
}

TEST_F(AwsSessions, CredentialsAreRenewedBeforeTheirEnd) {
  server_->use_machine();
  server_->ask({{"do", "set"}, {"lifetime", 4}});
  const auto master = open();
  server_->seen("");
  // Those that have run out are refused, and got anew then; these never are.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(6);
  std::size_t got = 0;
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_EQ(wrapping(*master), "ok");
    got += server_->seen(kRole);
    ::usleep(50'000);
  }
  EXPECT_GE(got, 1U);
  EXPECT_LE(got, 10U) << "and not with each call";
}

TEST_F(AwsSessions, TheyAreUsedToTheirEndIfThereAreNoOthers) {
  server_->use_machine();
  server_->ask({{"do", "set"}, {"lifetime", 40}});
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->trouble("status:500", "/latest/api/token", 1000);
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "expire"}});
  EXPECT_EQ(wrapping(*master), "kms-unavailable") << "nobody says that they are refused";
}

/// The credentials' end is told by the clock of who gives them.
TEST_F(AwsSessions, AClockThatIsOff) {
  server_->use_machine();
  for (const int offset : {-7200, 7200, 600, -600, 0}) {
    SCOPED_TRACE(offset);
    server_->ask({{"do", "set"}, {"offset", offset}});
    const auto master = open();
    server_->seen("");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(wrapping(*master), "ok");
    const auto seen = server_->ask({{"do", "seen"}});
    EXPECT_EQ(seen.size(), 3U) << "signed once each, and no credentials got: " << seen;
  }
}

TEST_F(AwsSessions, AClockThatGoesOffInMidRun) {
  const auto master = open();
  EXPECT_EQ(wrapping(*master), "ok");
  server_->ask({{"do", "set"}, {"offset", -3000}});
  server_->seen("");
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("Encrypt"), 2U) << "signed once more";
  EXPECT_EQ(wrapping(*master), "ok");
  EXPECT_EQ(server_->seen("Encrypt"), 1U);
  server_->ask({{"do", "set"}, {"offset", 0}});
  EXPECT_EQ(wrapping(*master), "ok") << "and back";
}

TEST_F(AwsSessions, AClockThatIsFarOff) {
  for (const int offset : {-2 * 86400, 400 * 86400}) {
    server_->ask({{"do", "set"}, {"offset", offset}});
    EXPECT_EQ(outcome(), "kms-denied");
    EXPECT_NE(words().find("clock is far off"), std::string::npos) << words();
  }
}

}  // namespace
}  // namespace coffer
