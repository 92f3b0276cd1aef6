#include "keystore/kms/bearer_token.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Before its end a token is got anew: in the last tenth of its time, and no earlier than this,
/// since metadata servers give the old one until about 4 minutes are left.
constexpr seconds kEarliest{225};

/// A number, or the text of one as some servers have it.
std::optional<seconds> lifetime_of(const nlohmann::json& value) {
  std::uint64_t number = 0;
  if (value.is_number_unsigned()) {
    number = value.get<std::uint64_t>();
  } else if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  } else {
    return std::nullopt;
  }
  return seconds(std::min<std::uint64_t>(number, 1U << 30U));
}

}  // namespace

Result<BearerToken> BearerToken::of(Bytes token, std::optional<seconds> lifetime) {
  if (token.empty() || !is_plain_text(token))
    return Error{Code::kKmsUnavailable, 0, "an access token that is none"};
  return BearerToken{secret_text({as_bytes("Authorization: Bearer "), token}), lifetime};
}

Result<BearerToken> BearerToken::from_oauth(HttpResponse response, const std::string& where) {
  if (response.status != 200) return oauth_refusal(response, where);
  const Error odd{Code::kKmsUnavailable, 0, where + " answers with what is no access token"};
  const auto token = take_secret_member(response.body.expose(), "access_token");
  if (!token) return odd;
  for (const char* const other : {"id_token", "refresh_token"}) {
    if (!take_secret_if_there(response.body.expose(), other)) return odd;
  }
  const auto json = json_object(response.body.expose());
  const auto type = json.value("token_type", nlohmann::json());
  if (!json.contains("access_token") || !type.is_string() || type.get<std::string>() != "Bearer")
    return odd;
  auto made = of(token->expose(), lifetime_of(json.value("expires_in", nlohmann::json())));
  if (!made) return odd;
  return made;
}

Error oauth_refusal(const HttpResponse& response, const std::string& where) {
  const auto json = json_object(response.body.expose());
  const std::string error = json_text(json, "error");
  const std::string words = " (" + std::to_string(response.status) + "): " +
                            without_secrets(error + " " + json_text(json, "error_description"));
  const bool refused = response.status >= 400 && response.status < 500 && response.status != 408 &&
                       response.status != 429 && !error.empty() &&
                       error != "temporarily_unavailable" && error != "slow_down" &&
                       error != "server_error";
  if (refused) return {Code::kKmsDenied, 0, where + " refuses a token" + words};
  return {Code::kKmsUnavailable, 0, where + " gives no token" + words};
}

BearerTokens::BearerTokens(Source source, Now now)
    : source_(std::move(source)), kept_(std::move(now)) {}

Result<BearerTokens::Kept::Fresh> BearerTokens::get(Time until) const {
  BearerToken token = TRY(source_(until));
  Kept::Fresh fresh{.credential = std::move(token.header), .lifetime = token.lifetime};
  if (token.lifetime)
    fresh.renew_before = std::min<milliseconds>(milliseconds(*token.lifetime) / 10, kEarliest);
  return fresh;
}

Result<HttpResponse> BearerTokens::call(const Send& send, Time until) {
  constexpr long kUnauthorized = 401;
  auto now = TRY(kept_.current([&](const SecretBytes*) { return get(until); }));
  auto response = TRY(send(now->credential));
  if (response.status == kUnauthorized) {
    now = TRY(kept_.other_than(now, [&] { return get(until); }));
    if (now == nullptr) return response;
    response = TRY(send(now->credential));
  }
  if (response.status != kUnauthorized) now->accepted = true;
  return response;
}

}  // namespace coffer
