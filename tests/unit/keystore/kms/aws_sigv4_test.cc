// Signatures against the vectors of AWS's own SDKs, and what dates look like.

#include "keystore/kms/aws_sigv4.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "keystore/crypto/digest.h"
#include "keystore/kms/aws_time.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A request as its text stands in a vector.
struct Request {
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  explicit Request(const std::string& text) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    std::istringstream head(text.substr(0, end));
    if (end < text.size()) body = text.substr(end + 2);
    std::string line;
    std::getline(head, line);
    method = line.substr(0, line.find(' '));
    target = line.substr(method.size() + 1, line.rfind(' ') - method.size() - 1);
    while (std::getline(head, line)) {
      if (line[0] == ' ' || line[0] == '\t') {
        headers.back().second += line;
        continue;
      }
      std::string name = line.substr(0, line.find(':'));
      for (char& letter : name) letter = static_cast<char>(std::tolower(letter));
      headers.emplace_back(name, line.substr(name.size() + 1));
    }
  }
};

/// The digits of a time: "2015-08-30T12:36:00Z" is "20150830T123600Z".
std::string stamp_of(std::string time) {
  std::erase(time, '-');
  std::erase(time, ':');
  return time;
}

/// True if the vector is of a request such as ours; then its signature is.
bool checks(const fs::path& vector) {
  const Request request(text_of(vector / "request.txt"));
  if (request.target != "/") return false;
  const auto context = nlohmann::json::parse(text_of(vector / "context.json"));
  const auto& credentials = context.at("credentials");
  const std::string token = credentials.value("token", "");
  const std::string stamp = stamp_of(context.at("timestamp"));
  SigV4Request signed_part{.method = request.method, .headers = {}, .body = as_bytes(request.body)};
  for (const auto& [name, value] : request.headers)
    signed_part.headers.push_back({name, as_bytes(value)});
  const auto add = [&signed_part](const std::string& name, const std::string& value) {
    signed_part.headers.push_back({name, as_bytes(value)});
  };
  const std::string digest = to_hex(sha256(as_bytes(request.body)));
  add("x-amz-date", stamp);
  if (!token.empty() && !context.value("omit_session_token", false))
    add("x-amz-security-token", token);
  if (context.at("sign_body").get<bool>()) add("x-amz-content-sha256", digest);
  const std::string secret = credentials.at("secret_access_key");
  const std::string id = credentials.at("access_key_id");
  const std::string region = context.at("region");
  const std::string service = context.at("service");
  const std::string authorization = sigv4_authorization(
      id, SecretBytes::copy_of(as_bytes(secret)), {stamp, region, service}, std::move(signed_part));
  const std::string expected = text_of(vector / "header-signed-request.txt");
  EXPECT_NE(expected.find("Authorization:" + authorization + "\n"), std::string::npos)
      << vector << ": " << authorization;
  return true;
}

TEST(AwsSigV4, TheVectorsOfTheSdks) {
  const std::string vectors = testing::environment("COFFER_VECTORS");
  if (vectors.empty()) GTEST_SKIP() << "COFFER_VECTORS names no directory";
  int checked = 0;
  for (const auto& entry : fs::directory_iterator(vectors + "/aws-sigv4")) {
    if (entry.is_directory() && checks(entry.path())) ++checked;
  }
  // Those of requests for "/" without a query.
  EXPECT_EQ(checked, 15);
  RecordProperty("vectors", checked);
}

/// AWS General Reference has the steps of this one.
TEST(AwsSigV4, ARequestOfKms) {
  const std::string body = R"({"KeyId":"alias/x"})";
  const SecretBytes secret =
      SecretBytes::copy_of(as_bytes("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
  const auto sign = [&](std::string_view region, const std::string& signed_body) {
    return sigv4_authorization("AKIDEXAMPLE", secret, {"20150830T123600Z", region, "kms"},
                               {.method = "POST",
                                .headers = {{"x-amz-date", as_bytes("20150830T123600Z")},
                                            {"host", as_bytes("kms.eu-west-1.amazonaws.com")}},
                                .body = as_bytes(signed_body)});
  };
  const std::string one = sign("eu-west-1", body);
  EXPECT_TRUE(
      one.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/kms/"
                      "aws4_request, SignedHeaders=host;x-amz-date, Signature="))
      << one;
  EXPECT_NE(one, sign("eu-west-2", body));
  EXPECT_NE(one, sign("eu-west-1", body + " "));
}

TEST(AwsTime, ItsForms) {
  EXPECT_EQ(aws_timestamp(1440938160), "20150830T123600Z");
  EXPECT_EQ(aws_timestamp(0), "19700101T000000Z");
  EXPECT_EQ(parse_aws_time("2015-08-30T12:36:00Z"), 1440938160);
  EXPECT_EQ(parse_aws_time("2015-08-30T12:36:00.250Z"), 1440938160);
  EXPECT_EQ(parse_http_date("Sun, 30 Aug 2015 12:36:00 GMT"), 1440938160);
  for (const char* const odd :
       {"", "x", "2015-08-30T12:36:00", "2015-08-30 12:36:00Z", "2015-13-30T12:36:00Z",
        "2015-02-30T12:36:00Z", "2015-08-30T24:36:00Z", "2015-08-30T12:36:00.Z",
        "2015-08-30T12:36:00.xZ", "2015-08-30T12:3 :00Z", "-015-08-30T12:36:00Z"})
    EXPECT_EQ(parse_aws_time(odd), std::nullopt) << odd;
  for (const char* const odd : {"", "Sun, 30 Aug 2015 12:36:00", "Sun, 30 Bug 2015 12:36:00 GMT",
                                "Sun, 31 Sep 2015 12:36:00 GMT", "Sunday, 30-Aug-15 12:36:00 GMT",
                                "Sun Aug 30 12:36:00 2015", "Sun, 30 Aug 2015 12:60:00 GMT"})
    EXPECT_EQ(parse_http_date(odd), std::nullopt) << odd;
}

}  // namespace
}  // namespace coffer
