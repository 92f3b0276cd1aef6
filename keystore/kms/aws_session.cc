#include "keystore/kms/aws_session.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "keystore/kms/aws_arn.h"
#include "keystore/kms/aws_sigv4.h"
#include "keystore/kms/aws_time.h"
#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// They are got anew this long before they end, or in the last quarter of their time.
constexpr seconds kRenewBefore{300};

/// AWS takes a date that is 5 minutes off; one that is off by more than a day is not only a clock's
/// fault.
constexpr std::int64_t kSlightlyOff = 240;
constexpr std::int64_t kFarOff = 24L * 3600;

template <std::size_t N>
bool is_among(const std::string& name, const std::array<std::string_view, N>& names) {
  return std::ranges::find(names, name) != names.end();
}

bool may_be_about_time(const std::string& name) {
  constexpr std::array<std::string_view, 5> kNames = {
      "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
      "RequestExpired", "RequestInTheFuture"};
  return is_among(name, kNames);
}

bool may_be_about_credentials(const std::string& name) {
  constexpr std::array<std::string_view, 6> kNames = {
      "ExpiredTokenException",       "ExpiredToken",
      "UnrecognizedClientException", "InvalidClientTokenId",
      "InvalidSignatureException",   "SignatureDoesNotMatch"};
  return is_among(name, kNames);
}

std::string endpoint_of(const AwsSettings& settings, const std::string& region) {
  if (!settings.kms_endpoint.empty()) return settings.kms_endpoint;
  return "https://" + aws_host(settings.fips ? "kms-fips" : "kms", region);
}

}  // namespace

AwsSession::AwsSession(AwsSettings settings, const std::string& region)
    : settings_(std::move(settings)),
      region_(region),
      endpoint_(endpoint_of(settings_, region)),
      chain_(settings_),
      http_(settings_.http) {}

Result<AwsSession::Kept::Fresh> AwsSession::get_credentials(Time until) const {
  AwsCredentials got = TRY(chain_.get(until));
  Kept::Fresh fresh{.credential = std::move(got), .lifetime = std::nullopt};
  if (!fresh.credential.lifetime) return fresh;
  fresh.lifetime = std::clamp(*fresh.credential.lifetime, seconds(0), seconds(1U << 20U));
  fresh.renew_before = std::min<milliseconds>(kRenewBefore, milliseconds(*fresh.lifetime) / 4);
  return fresh;
}

Result<AwsSession::Kept::HeldPtr> AwsSession::credentials(Time until) {
  return kept_.current([&](const AwsCredentials*) { return get_credentials(until); });
}

Result<HttpResponse> AwsSession::send(const std::string& operation, const SecretBytes& body,
                                      const AwsCredentials& credentials, std::int64_t ahead_s,
                                      Time until) const {
  const std::string type = "application/x-amz-json-1.1";
  const std::string target = "TrentService." + operation;
  const std::string date = aws_timestamp(clock_.unix_seconds() + ahead_s);
  const std::string host = endpoint_.substr(endpoint_.find("//") + 2);
  SigV4Request signed_part{.method = "POST",
                           .headers = {{"content-type", as_bytes(type)},
                                       {"host", as_bytes(host)},
                                       {"x-amz-date", as_bytes(date)},
                                       {"x-amz-target", as_bytes(target)}},
                           .body = body.expose()};
  const SecretBytes& token = credentials.session_token;
  if (!token.empty()) signed_part.headers.push_back({"x-amz-security-token", token.expose()});
  const SecretBytes token_header =
      secret_text({as_bytes("X-Amz-Security-Token: "), token.expose()});
  HttpRequest request{.method = "POST",
                      .url = endpoint_ + "/",
                      .headers = {"Content-Type: " + type, "Host: " + host, "X-Amz-Date: " + date,
                                  "X-Amz-Target: " + target},
                      .secret_header = token.empty() ? nullptr : &token_header,
                      .body = body.clone()};
  request.headers.push_back("Authorization: " + sigv4_authorization(credentials.access_key_id,
                                                                    credentials.secret_access_key,
                                                                    {date, region_, "kms"},
                                                                    std::move(signed_part)));
  return http_.send(request, until);
}

bool AwsSession::set_clock_by(const HttpResponse& response, std::int64_t ahead_s) {
  const auto date = response.headers.find("date");
  const auto theirs = date == response.headers.end() ? std::nullopt : parse_http_date(date->second);
  if (!theirs) return false;
  const std::int64_t ahead = *theirs - clock_.unix_seconds();
  if (std::abs(ahead - ahead_s) < kSlightlyOff || std::abs(ahead) > kFarOff) return false;
  ahead_s_ = ahead;
  return true;
}

Result<HttpResponse> AwsSession::call(const std::string& operation, const SecretBytes& body,
                                      Time until) {
  Kept::HeldPtr now = TRY(credentials(until));
  bool clock_was_set = false;
  bool got_anew = false;
  while (true) {
    // As it was when this request was signed: others may set it meanwhile.
    const std::int64_t ahead_s = ahead_s_;
    auto response = TRY(send(operation, body, now->credential, ahead_s, until));
    const std::string name = response.status == 200 ? "" : aws_error_name(response);
    if (!clock_was_set && may_be_about_time(name) && set_clock_by(response, ahead_s)) {
      clock_was_set = true;
      continue;
    }
    if (!may_be_about_credentials(name)) {
      if (response.status == 200) now->accepted = true;
      return response;
    }
    if (std::exchange(got_anew, true)) return response;
    auto other = TRY(kept_.other_than(now, [&] { return get_credentials(until); }));
    if (other == nullptr) return response;
    now = std::move(other);
  }
}

Result<std::string> AwsSession::identity(Time until) {
  const auto now = TRY(credentials(until));
  return now->credential.source + " (access key " + now->credential.access_key_id + ")";
}

std::string aws_error_name(const HttpResponse& response) {
  std::string name = json_text(json_object(response.body.expose()), "__type");
  const auto header = response.headers.find("x-amzn-errortype");
  if (name.empty() && header != response.headers.end()) name = header->second;
  name = name.substr(0, name.find(':'));
  name.erase(0, name.rfind('#') + 1);
  return aws_plain_name(name);
}

std::string aws_words(const HttpResponse& response) {
  const auto json = json_object(response.body.expose());
  const std::string lower = json_text(json, "message");
  return without_secrets(lower.empty() ? json_text(json, "Message") : lower);
}

}  // namespace coffer
